"""Which statement some triggers share, and what travels with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from runs.gathered_statement import (
    OF_ENVIRONMENT,
    OFTEN_SHARED,
    OWN,
    gathered_shape,
    gathered_statement,
)
from runs.trigger_statement import RUN_COLUMNS

AT = datetime(2026, 11, 26, tzinfo=UTC)


def row(number: int, **given: Any) -> dict[str, Any]:
    """Give every column of a run, and what its trigger has beside."""
    columns = dict.fromkeys(RUN_COLUMNS, None) | {"tags": [], "created_at": AT, "updated_at": AT}
    own = {"id": f"run_{number}", "snapshot_id": f"snapshot_{number}", "request_key": None}
    return columns | {"environment_id": "env_1", "task_slug": "hello"} | own | given


def test_every_column_of_a_run_has_its_place() -> None:
    """None is forgotten, and none is sent twice."""
    assert sorted((*OF_ENVIRONMENT, *OFTEN_SHARED, *OWN)) == sorted((*RUN_COLUMNS, "request_key"))


def test_a_burst_sends_once_what_is_the_same() -> None:
    """Only what is each run's own travels as arrays."""
    shape, values = gathered_shape([row(1, payload="1"), row(2, payload="2")])
    assert set(shape.apart) <= set(OWN)
    assert (values["task_slug"], values["payload"]) == ("hello", '{"1","2"}')


def test_one_that_differs_makes_all_of_it_travel() -> None:
    """There are two kinds, not one for each column that may differ."""
    shape, values = gathered_shape([row(1), row(2, task_slug="other")])
    assert set(shape.once) <= set(OF_ENVIRONMENT)
    assert values["task_slug"] == '{"hello","other"}'
    other, _ = gathered_shape([row(1), row(2, queue_name="q"), row(3)])
    assert gathered_statement(other) is gathered_statement(shape)


def test_what_nobody_has_is_left_out() -> None:
    """A column without a value, and the claim of keys that nobody sent, cost nothing."""
    shape, values = gathered_shape([row(1), row(2)])
    assert not {"ttl", "payload", "request_key"} & set(values)
    assert "runs_requestkey" not in gathered_statement(shape)
    keyed, _ = gathered_shape([row(1), row(2, request_key="k")])
    assert "runs_requestkey" in gathered_statement(keyed)
