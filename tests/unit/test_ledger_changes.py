"""The message that tells other processes, and how revisions are followed."""

from __future__ import annotations

import pytest

from ledger.changes import BadMessage, ChangeMessage, parse_message
from ledger.progress import Progress, has_applied, note_applied, note_polled


def test_a_message_arrives_as_it_was_sent() -> None:
    """What is parsed is what was written."""
    message = ChangeMessage(revision=7, touched=(("flags", ""), ("key", "abc")))
    assert message.to_text() == '{"revision": 7, "touched": [["flags", ""], ["key", "abc"]]}'
    assert parse_message(message.to_text()) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "7",
        '{"revision": 1}',
        '{"revision": "x", "touched": []}',
        '{"revision": 1, "touched": [["flags"]]}',
        '{"revision": 1, "touched": 3}',
    ],
)
def test_what_is_no_message_is_refused(text: str) -> None:
    """Anything else on the channel is one named error, whatever is wrong with it."""
    with pytest.raises(BadMessage):
        parse_message(text)


def test_revisions_in_order_leave_no_gap() -> None:
    """Each next revision moves what is served."""
    progress = note_applied(note_applied(Progress(served=4), 5), 6)
    assert (progress.served, progress.has_gap) == (6, False)


def test_a_later_revision_leaves_a_gap_until_the_missing_one_comes() -> None:
    """What is served waits for the missing revision, then takes in what came before it."""
    ahead = note_applied(note_applied(Progress(served=4), 7), 6)
    assert (ahead.served, ahead.has_gap, has_applied(ahead, 7)) == (4, True, True)
    closed = note_applied(ahead, 5)
    assert (closed.served, closed.has_gap) == (7, False)


def test_a_poll_takes_in_what_came_ahead() -> None:
    """A poll that ends before what messages brought goes on to it."""
    progress = note_polled(Progress(served=4, ahead=frozenset({7})), asked=4, found=6)
    assert (progress.served, progress.ahead) == (7, frozenset())


def test_a_slow_poll_takes_nothing_back() -> None:
    """Messages may have gone further while the database was asked."""
    assert note_polled(Progress(served=9), asked=4, found=6).served == 9


def test_a_restored_database_is_followed_from_its_own_revision() -> None:
    """A database behind what was asked for is another one."""
    progress = note_polled(Progress(served=9, ahead=frozenset({11})), asked=9, found=3)
    assert progress == Progress(served=3)


def test_nothing_is_served_before_the_first_poll() -> None:
    """Messages alone do not say where to begin."""
    progress = note_applied(Progress(), 5)
    assert (progress.served, progress.has_gap) == (None, True)
    assert note_polled(progress, asked=None, found=4).served == 5
