"""What a failed attempt tells about its error: name, message, and the author's own frames."""

from __future__ import annotations

import linecache
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS = str(Path(__file__).resolve().parents[1])
_MACHINERY = (_OURS, "<frozen importlib")
_LOOP_FILES = ("asyncio/runners.py", "asyncio/base_events.py", "importlib/__init__.py")
_LONGEST_STACK = 32_768
_LONGEST_MESSAGE = 8_192


def internal_error(
    code: str, message: str, error: BaseException | None = None, code_dir: Path | None = None
) -> dict[str, Any]:
    """Give the wire form of a failure that is not the task function's own exception."""
    told: dict[str, Any] = {"type": "INTERNAL_ERROR", "code": code, "message": _cut_middle(message)}
    if error is not None:
        told["stackTrace"] = stack_trace(error, code_dir)
    return told


def message_of(error: BaseException) -> str:
    """Give an exception's text, also when its own code for that fails."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - the author's __str__ may raise anything
        return f"<its message cannot be read: {type(broken).__name__}>"


def built_in_error(error: BaseException, code_dir: Path) -> dict[str, Any]:
    """Give the wire form of what a task raised. Chained causes stay; our own frames do not."""
    message = message_of(error)
    if isinstance(error, SystemExit):
        message = f"the task called sys.exit({error.code!r})"
    return {
        "type": "BUILT_IN_ERROR",
        "name": type(error).__qualname__,
        "message": _cut_middle(message, _LONGEST_MESSAGE),
        "stackTrace": stack_trace(error, code_dir),
    }


def stack_trace(error: BaseException, code_dir: Path | None) -> str:
    """Give the traceback as text, files below `code_dir` by their relative names.

    Of each exception in the chain the leading frames of this package and of the machinery that
    called the author's code are left out.
    """
    told = traceback.TracebackException.from_exception(error, compact=True)
    for part in _chain(told):
        if isinstance(error, SyntaxError) and part.exc_type is type(error) and part.filename:
            part.filename = _relative_name(part.filename, code_dir)
        part.stack = traceback.StackSummary.from_list(_author_frames(list(part.stack), code_dir))
    return _cut_middle("".join(told.format()).rstrip("\n"))


def _chain(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    waiting: list[traceback.TracebackException | None] = [told]
    while waiting:
        part = waiting.pop()
        if part is not None:
            yield part
            waiting += [part.__cause__, part.__context__, *(part.exceptions or ())]


def _author_frames(
    frames: list[traceback.FrameSummary], code_dir: Path | None
) -> list[traceback.FrameSummary]:
    first = next((i for i, frame in enumerate(frames) if not _is_machinery(frame.filename)), None)
    kept = frames if first is None else frames[first:]
    return [_relative(frame, code_dir) for frame in kept]


def _is_machinery(filename: str) -> bool:
    return filename.startswith(_MACHINERY) or filename.endswith(_LOOP_FILES)


def _relative(frame: traceback.FrameSummary, code_dir: Path | None) -> traceback.FrameSummary:
    name = _relative_name(frame.filename, code_dir)
    if name == frame.filename:
        return frame
    # The source line is looked up by file name, so it is read before the name is shortened; with
    # its indentation, from which the columns of the markers count.
    return traceback.FrameSummary(
        name,
        frame.lineno,
        frame.name,
        lookup_line=False,
        line=linecache.getline(frame.filename, frame.lineno or 0),
        end_lineno=frame.end_lineno,
        colno=frame.colno,
        end_colno=frame.end_colno,
    )


def _relative_name(filename: str, code_dir: Path | None) -> str:
    path = Path(filename)
    if code_dir is None or not path.is_relative_to(code_dir):
        return filename
    return str(path.relative_to(code_dir))


def _cut_middle(text: str, longest: int = _LONGEST_STACK) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
