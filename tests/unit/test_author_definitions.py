"""`@task`: what a definition may be, and how a bad one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade import Context, Queue, Retry, Task, TaskDefinitionError, task
from crossfade.durations import seconds_for_duration
from crossfade.machines import MACHINES
from runs.machines import PRESETS


def test_bare_decorator_names_the_task_after_the_function() -> None:
    """Without options the id is the function's name with dashes."""

    @task
    def send_mail(payload: Any) -> Any:
        return payload

    assert send_mail.id == "send-mail"
    assert send_mail({"a": 1}) == {"a": 1}
    assert repr(send_mail) == "<Task send-mail>"


def test_options_are_kept() -> None:
    """Every option is found on the task, in the form the platform takes."""

    @task(id="x/y", queue="mail", machine="micro", retry=Retry(5), max_duration=60, ttl=90)
    async def fn(payload: Any, ctx: Context) -> None: ...

    assert (fn.id, fn.queue, fn.machine) == ("x/y", Queue("mail"), "micro")
    assert (fn.retry, fn.max_duration_s, fn.ttl, fn.is_async) == (Retry(5), 60, "90s", True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"id": ""}, "id is ''"),
        ({"id": "with space"}, "id is 'with space'"),
        ({"id": "x" * 121}, "id is"),
        ({"id": 3}, "id is 3"),
        ({"queue": 3}, "queue is 3"),
        ({"queue": "a b"}, "queue.name is 'a b'"),
        ({"machine": "huge"}, "machine is 'huge'"),
        ({"retry": 3}, "retry is 3"),
        ({"max_duration": 1}, "max_duration is 1"),
        ({"max_duration": True}, "max_duration is True"),
        ({"max_duration": 7.5}, "max_duration is 7.5"),
        ({"ttl": "soon"}, "ttl is 'soon'"),
        ({"ttl": 0}, "ttl is 0"),
        ({"ttl": "0s"}, "ttl is '0s'"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], said: str) -> None:
    """A bad option fails at definition, by its name and value."""
    with pytest.raises(TaskDefinitionError) as raised:
        task(**options)(one)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_attempts": 0}, "retry.max_attempts is 0"),
        ({"max_attempts": 251}, "retry.max_attempts is 251"),
        ({"max_attempts": True}, "retry.max_attempts is True"),
        ({"factor": 0.5}, "retry.factor is 0.5"),
        ({"factor": float("nan")}, "retry.factor is nan"),
        ({"factor": "2"}, "retry.factor is '2'"),
        ({"min_timeout_ms": -1}, "retry.min_timeout_ms is -1"),
        ({"min_timeout_ms": 2000, "max_timeout_ms": 1000}, "retry.max_timeout_ms is 1000"),
        ({"randomize": 1}, "retry.randomize is 1"),
        ({"out_of_memory_machine": "huge"}, "retry.out_of_memory_machine is 'huge'"),
        ({"out_of_memory_machine": ["micro"]}, "retry.out_of_memory_machine is ['micro']"),
    ],
)
def test_bad_retry_options(options: dict[str, Any], said: str) -> None:
    """A bad retry setting is named with its value."""
    with pytest.raises(TaskDefinitionError) as raised:
        Retry(**options)
    assert said in str(raised.value)


def test_the_presets_are_those_of_the_platform() -> None:
    """What an author may name is what the platform knows, in the same order."""
    assert tuple(PRESETS) == MACHINES


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, 100_001])
def test_bad_queue_limits(limit: Any) -> None:
    """A queue's limit is a whole number from 1."""
    with pytest.raises(TaskDefinitionError, match=r"queue\.concurrency_limit"):
        Queue("q", limit)


def test_names_of_the_tasks_own_queues_are_reserved() -> None:
    """No queue may pose as the default queue of a task."""
    with pytest.raises(TaskDefinitionError, match="begin with task/"):
        Queue("task/other")


def one(payload: Any) -> Any:
    return ("one", payload)


def none() -> Any:
    return ("none",)


def both(payload: Any, ctx: Any) -> Any:
    return ("both", payload, ctx)


def only_ctx(ctx: Any) -> Any:
    return ("only", ctx)


def other_names(order: Any, context: Any) -> Any:
    return ("other", order, context)


def keyword(payload: Any, *, ctx: Any) -> Any:
    return ("keyword", payload, ctx)


def default_second(payload: Any, verbose: bool = False) -> Any:
    return ("default", payload, verbose)


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (one, ("one", "P")),
        (none, ("none",)),
        (both, ("both", "P", "C")),
        (only_ctx, ("only", "C")),
        (other_names, ("other", "P", "C")),
        (keyword, ("keyword", "P", "C")),
        (default_second, ("default", "P", False)),
    ],
)
def test_how_a_function_takes_its_arguments(fn: Any, expected: Any) -> None:
    """The payload and the ctx go to the parameters that want them, by name."""
    defined: Task[..., Any] = Task(fn)
    assert defined.fn(**defined.signature.arguments("P", "C")) == expected


def test_parameters_nobody_fills_are_refused() -> None:
    """A third required parameter could never be given."""

    def fn(payload: Any, ctx: Any, database: Any) -> None: ...

    with pytest.raises(TaskDefinitionError, match="'database'"):
        task(fn)


def test_what_is_no_function_is_refused() -> None:
    """Classes, generators and positional options are mistakes that are said."""

    def stream(payload: Any) -> Any:
        yield payload

    refused: list[Any] = [int, stream, "my-id"]
    for wrong in refused:
        with pytest.raises(TaskDefinitionError):
            task(wrong)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("2h30m", 9000), ("1w", 604_800), ("1hr", 3600), ("90", None), ("", None),
     ("1 h", None), ("m", None), ("1h" * 60, None)],
)  # fmt: skip
def test_durations(text: str, seconds: int | None) -> None:
    """Durations are concatenated counts with units, and nothing else."""
    assert seconds_for_duration(text) == seconds
