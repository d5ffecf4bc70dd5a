"""`@task`: a Python function that Crossfade can run. A bad definition fails here, by field."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from crossfade.durations import seconds_for_duration
from crossfade.errors import TaskDefinitionError
from crossfade.machines import MACHINES, Machine
from crossfade.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from crossfade.client.runs import TriggeredRun, TriggerOptions

P = ParamSpec("P")
R = TypeVar("R")

LEAST_MAX_DURATION_S = 5
MOST_MAX_DURATION_S = 2**31 - 1

_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,119}")
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_\-/]{1,128}")


@dataclass(frozen=True, slots=True)
class Queue:
    """A named line of runs. `concurrency_limit` is how many of its runs execute at once."""

    name: str
    concurrency_limit: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _QUEUE_NAME.fullmatch(self.name):
            raise TaskDefinitionError(
                f"queue.name is {self.name!r}; it is 1 to 128 of the characters A-Z a-z 0-9 _ - /"
            )
        if self.name.startswith("task/"):
            raise TaskDefinitionError(
                f"queue.name is {self.name!r}; names that begin with task/ are the tasks' own"
            )
        limit = self.concurrency_limit
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
            raise TaskDefinitionError(f"queue.concurrency_limit is {limit!r}; it is a whole number")
        if limit is not None and not 1 <= limit <= 100_000:  # noqa: PLR2004
            raise TaskDefinitionError(
                f"queue.concurrency_limit is {limit}; it is between 1 and 100000"
            )


@dataclass(frozen=True, slots=True)
class Signature:
    """The names by which a task's function takes its payload and its ctx, if it takes them."""

    payload: str | None
    ctx: str | None

    def arguments(self, payload: Any, ctx: Any) -> dict[str, Any]:
        """Give the keyword arguments to call the function with."""
        given = ((self.payload, payload), (self.ctx, ctx))
        return {name: value for name, value in given if name is not None}


class Task(Generic[P, R]):
    """A task. Call it like the function it was made from, or `.trigger()` a run of it."""

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        task_id: str | None = None,
        queue: Queue | str | None = None,
        machine: Machine | None = None,
        retry: Retry | None = None,
        max_duration: int | None = None,
        ttl: str | int | None = None,
    ) -> None:
        self.fn = fn
        self.id = _checked_id(task_id, fn)
        self.signature = _signature_for(fn, self.id)
        self.queue = _checked_queue(queue)
        self.machine = _checked_machine(machine)
        self.retry = _checked_retry(retry)
        self.max_duration_s = _checked_max_duration(max_duration)
        self.ttl = _checked_ttl(ttl)
        update_wrapper(self, fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.id}>"

    @property
    def is_async(self) -> bool:
        """Say whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self.fn)

    def trigger(self, payload: Any = None, **options: Unpack[TriggerOptions]) -> TriggeredRun:
        """Trigger a run of this task, with the client of `TRIGGER_API_URL`/`TRIGGER_SECRET_KEY`.

        **Args** `options` are those of `Client.trigger`.
        """
        # Imported here: a runner that triggers nothing never loads an HTTP client.
        from crossfade.client.from_environment import shared_client  # noqa: PLC0415

        return shared_client().trigger(self.id, payload, **options)


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(
    *,
    id: str | None = None,
    queue: Queue | str | None = None,
    machine: Machine | None = None,
    retry: Retry | None = None,
    max_duration: int | None = None,
    ttl: str | int | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    id: str | None = None,  # noqa: A002 - the word of the platform's own API
    queue: Queue | str | None = None,
    machine: Machine | None = None,
    retry: Retry | None = None,
    max_duration: int | None = None,
    ttl: str | int | None = None,
) -> Any:
    """Make a task of a function `fn(payload, ctx)`; both parameters are optional.

    **Args** `id` how runs name it (default: the function's name with `-` for `_`); `queue` a
    `Queue` or the name of one; `machine` a preset; `retry` (default: 3 attempts, 1 s x 2^n);
    `max_duration` in seconds an attempt, at least 5; `ttl` how long a run may wait in its queue,
    `10m` or seconds.
    **Raises** TaskDefinitionError naming the field.
    """

    def decorate(function: Callable[..., Any]) -> Task[..., Any]:
        return Task(
            function,
            task_id=id,
            queue=queue,
            machine=machine,
            retry=retry,
            max_duration=max_duration,
            ttl=ttl,
        )

    return decorate if fn is None else decorate(fn)


def _checked_id(task_id: str | None, fn: Any) -> str:
    if not inspect.isfunction(fn):
        raise TaskDefinitionError(
            f"@task is for functions; {fn!r:.80} is a {type(fn).__name__}. "
            "Options are given by name: @task(id=...)"
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TaskDefinitionError(f"{fn.__qualname__} yields; a task returns its output")
    chosen = fn.__name__.replace("_", "-").strip("-") if task_id is None else task_id
    if not isinstance(chosen, str) or not _TASK_ID.fullmatch(chosen):
        raise TaskDefinitionError(
            f"id is {chosen!r}; it is 1 to 120 of the characters A-Z a-z 0-9 _ . / - "
            "and begins with a letter or digit"
        )
    return chosen


def _signature_for(fn: Callable[..., Any], task_id: str) -> Signature:
    payload: str | None = None
    ctx: str | None = None
    for name, parameter in inspect.signature(fn).parameters.items():
        required = parameter.default is parameter.empty
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TaskDefinitionError(
                f"task {task_id} has the positional-only parameter {name!r}; remove the slash"
            )
        if name == "ctx":
            ctx = name
        elif payload is None:
            payload = name
        elif ctx is None and required:
            ctx = name
        elif required:
            raise TaskDefinitionError(
                f"task {task_id} has the parameter {name!r}; a task takes a payload and a ctx, "
                "any other parameter needs a default"
            )
    return Signature(payload=payload, ctx=ctx)


def _checked_queue(queue: Queue | str | None) -> Queue | None:
    if queue is None or isinstance(queue, Queue):
        return queue
    if isinstance(queue, str):
        return Queue(name=queue)
    raise TaskDefinitionError(f"queue is {queue!r}; it is a Queue or the name of one")


def _checked_machine(machine: str | None) -> str | None:
    if machine is None or machine in MACHINES:
        return machine
    raise TaskDefinitionError(f"machine is {machine!r}; it is one of {', '.join(MACHINES)}")


def _checked_retry(retry: Retry | None) -> Retry | None:
    if retry is None or isinstance(retry, Retry):
        return retry
    raise TaskDefinitionError(f"retry is {retry!r}; it is Retry(max_attempts=..., factor=..., ...)")


def _checked_max_duration(max_duration: int | None) -> int | None:
    if max_duration is None:
        return None
    whole = isinstance(max_duration, int) and not isinstance(max_duration, bool)
    if not whole or not LEAST_MAX_DURATION_S <= max_duration <= MOST_MAX_DURATION_S:
        raise TaskDefinitionError(
            f"max_duration is {max_duration!r}; it is whole seconds, at least "
            f"{LEAST_MAX_DURATION_S}"
        )
    return max_duration


def _checked_ttl(ttl: str | int | None) -> str | None:
    if ttl is None:
        return None
    if isinstance(ttl, int) and not isinstance(ttl, bool) and ttl > 0:
        return f"{ttl}s"
    if isinstance(ttl, str) and (seconds_for_duration(ttl) or 0) > 0:
        return ttl
    raise TaskDefinitionError(
        f"ttl is {ttl!r}; it is a duration such as 10m or 2h30m, or whole seconds"
    )
