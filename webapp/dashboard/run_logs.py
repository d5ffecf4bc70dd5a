"""What a run's attempts wrote, as the lines of a page that grows at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode

from runs.selectors import list_logs
from webapp.dashboard.words import clock_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runs.selectors import LogView

LOUD: Final = frozenset({"stderr", "error", "fatal", "critical"})
MAX_SEARCHED: Final = 200  # characters
CONTEXT_LINES: Final = 20
LAST_SEQ: Final = 2**31 - 1  # behind every line of an attempt


class LogRow(NamedTuple):
    """One line that an attempt wrote."""

    anchor: str
    link: str  # the query of a page that has this line
    at: str
    source: str  # the stream, or the level of a log record
    is_loud: bool  # an error, or what went to stderr
    text: str
    begins: int | None  # the attempt whose first line here this is


class LogSection(NamedTuple):
    """A page of a run's log."""

    lines: Sequence[LogRow]
    contains: str  # what was searched, "" for nothing
    is_continued: bool  # lines before these are on an earlier page
    next_after: str | None  # there are more lines already, behind this cursor
    end_query: str  # of what comes after these lines, now or later
    own_query: str  # of these lines


def log_section(run_id: str, *, after: str | None, contains: str, is_more: bool) -> LogSection:
    """Give a page of what the run's attempts wrote, attempt by attempt.

    `is_more` continues a page that is there already, so the attempt of its last line is known.
    """
    contains = contains.replace("\x00", "")[:MAX_SEARCHED]
    lines, next_after = list_logs(run_id=run_id, attempt=None, after=after, contains=contains)
    last = f"{lines[-1].attempt}.{lines[-1].seq}" if lines else after or ""
    return LogSection(
        lines=list(_rows(lines, after=after, is_more=is_more, is_searched=bool(contains))),
        contains=contains,
        is_continued=bool(after),
        next_after=next_after,
        end_query=_query(last, contains),
        own_query=_query(after or "", contains),
    )


def log_file(run_id: str) -> Iterator[str]:
    """Give every line of a run as text: attempt, time, source, what was written."""
    after: str | None = None
    while True:
        lines, after = list_logs(run_id=run_id, attempt=None, after=after)
        for line in lines:
            yield f"{line.attempt} {clock_text(line.at)} {_source(line)} {line.text}\n"
        if after is None:
            return


def _rows(
    lines: Sequence[LogView], *, after: str | None, is_more: bool, is_searched: bool
) -> Iterator[LogRow]:
    known = (after or "").partition(".")[0] if is_more else ""
    for line in lines:
        attempt, source = str(line.attempt), _source(line)
        yield LogRow(
            anchor=f"log-{line.attempt}-{line.seq}",
            link=_query(_just_before(line) if is_searched else after or "", ""),
            at=clock_text(line.at),
            source=source,
            is_loud=source.lower() in LOUD,
            text=line.text,
            begins=None if attempt == known else line.attempt,
        )
        known = attempt


def _just_before(line: LogView) -> str:
    """Give a cursor some lines before this one, so that a found line is read with its context."""
    if line.seq > CONTEXT_LINES:
        return f"{line.attempt}.{line.seq - CONTEXT_LINES - 1}"
    return f"{line.attempt - 1}.{LAST_SEQ}"


def _source(line: LogView) -> str:
    return line.level or line.stream


def _query(after: str, contains: str) -> str:
    return urlencode([pair for pair in (("q", contains), ("after", after)) if pair[1]])
