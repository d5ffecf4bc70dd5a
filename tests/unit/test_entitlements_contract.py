"""What the entitlements service may say, and how its silence is borne."""

from __future__ import annotations

import pytest

from tenants.entitlements.contract import (
    BadAnswer,
    Entitlement,
    Rhythm,
    pause_s,
    read_entitlement,
    retry_s,
)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"hasAccess": true}', Entitlement(True, None, None)),
        (b'{"hasAccess": false, "plan": null}', Entitlement(False, None, None)),
        (b'{"hasAccess": true, "plan": {"type": "free"}}', Entitlement(True, "free", None)),
        (b'{"hasAccess": true, "limits": {}}', Entitlement(True, None, {})),
        (
            b'{"hasAccess": true, "plan": {"type": "enterprise", "code": "e"}, "x": 1.5, "limits": {"runsPerDay": 0}}',
            Entitlement(True, "enterprise", {"runsPerDay": 0}),
        ),
    ],
)
def test_what_is_said_is_read(body: bytes, said: Entitlement) -> None:
    """Known keys are read, unknown ones passed over, and a missing one says nothing."""
    assert read_entitlement(body) == said


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b'"paid"',
        b"{}",
        b'{"hasAccess": null}',
        b'{"hasAccess": "false"}',
        b'{"hasAccess": 0}',
        b'{"hasAccess": true, "plan": "paid"}',
        b'{"hasAccess": true, "plan": {}}',
        b'{"hasAccess": true, "plan": {"type": null}}',
        b'{"hasAccess": true, "plan": {"type": "Paid"}}',
        b'{"hasAccess": true, "plan": {"type": "gold"}}',
        b'{"hasAccess": true, "limits": []}',
        b'{"hasAccess": true, "limits": {"runs": "5"}}',
        b'{"hasAccess": true, "limits": {"runs": 5.0}}',
        b'{"hasAccess": true, "limits": {"runs": true}}',
        b'{"hasAccess": true, "limits": {"runs": -1}}',
        b'{"hasAccess": true, "limits": {"runs": 9007199254740992}}',
        b'{"hasAccess": true, "limits": {"": 1}}',
        b'{"hasAccess": true',
        b"\xff\xfe",
        b'{"hasAccess": true, "limits": {' + b",".join(b'"%d": 1' % n for n in range(101)) + b"}}",
    ],
)
def test_what_cannot_be_read_says_nothing(body: bytes) -> None:
    """One wrong value makes the whole answer unreadable: half of it is never believed."""
    with pytest.raises(BadAnswer):
        read_entitlement(body)


def test_a_wrong_answer_is_named_without_being_repeated() -> None:
    """The error names the place and holds nothing of the body, which may be anything."""
    with pytest.raises(BadAnswer) as raised:
        read_entitlement(b'{"hasAccess": true, "plan": {"type": "secret-tier"}}')
    assert str(raised.value).startswith("plan.type: ")
    assert "secret-tier" not in str(raised.value)


def test_failures_are_repeated_ever_more_rarely_up_to_a_bound() -> None:
    """Neither delay shrinks with more failures, and years of them change nothing more."""
    rhythm = Rhythm()
    for delay in (lambda n: retry_s(n, rhythm), pause_s):
        delays = [delay(failures) for failures in range(1, 2000)]
        assert delays == sorted(delays)
        assert delays[-1] == delays[100] <= rhythm.retry_cap_s
    assert pause_s(0) == 0
