"""The result of an attempt as the platform is told it. Pure but for the traceback's file reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crossfade.errors import (
    AbortTaskRun,
    NotJson,
    TaskCancelled,
    TaskInterrupted,
    TaskTimedOut,
)
from crossfade.loading import TaskNotFound
from crossfade.retry import DEFAULT_RETRY, retry_delay_ms
from crossfade.runner.failures import built_in_error, internal_error, message_of

if TYPE_CHECKING:
    from pathlib import Path

    from crossfade.context import Context
    from crossfade.definition import Task


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How an attempt ended. `stage` is how far the call got: see `invoke.Call`."""

    ctx: Context
    task: Task[..., Any] | None
    stage: str
    output: str | None
    raised: BaseException | None
    stopped: TaskInterrupted | None
    duration_ms: float


def completion_for(
    end: AttemptEnd, *, code_dir: Path, now_ms: float, jitter: float
) -> dict[str, Any]:
    """Give the `completion` of an attempt.

    **Rule** an interruption wins over what the task made of it; then success; then failure, with
    the time of the next try when the error is the task's own and tries are left.
    """
    if end.stopped is not None:
        return _failed(end, _error_for_stop(end, end.stopped, code_dir), final=True)
    if end.raised is None:
        return _succeeded(end)
    error, is_final = _error_for_raise(end, end.raised, code_dir)
    completion = _failed(end, error, final=is_final)
    if not is_final:
        completion |= _retry(end, now_ms=now_ms, jitter=jitter)
    return completion


def refused_output(completion: dict[str, Any], why: str) -> dict[str, Any]:
    """Give the failure to report in place of a success that the platform would not take."""
    kept: dict[str, Any] = {
        name: completion[name] for name in ("id", "usage", "taskIdentifier") if name in completion
    }
    error = internal_error("TASK_OUTPUT_ERROR", f"the platform refused the output: {why}")
    return {"ok": False, **kept, "error": error, "skippedRetrying": True}


def cancelled_completion(ctx: Context) -> dict[str, Any]:
    """Give the completion of a run that was cancelled while no task of it was executing."""
    error = internal_error("TASK_RUN_CANCELLED", "the run was cancelled")
    return {"ok": False, "id": ctx.run.id, "error": error, "skippedRetrying": True}


def _succeeded(end: AttemptEnd) -> dict[str, Any]:
    output = {} if end.output is None else {"output": end.output}
    return {"ok": True, **_common(end), **output, "outputType": "application/json"}


def _failed(end: AttemptEnd, error: dict[str, Any], *, final: bool) -> dict[str, Any]:
    return {"ok": False, **_common(end), "error": error, "skippedRetrying": final}


def _common(end: AttemptEnd) -> dict[str, Any]:
    try:
        metadata = end.ctx.metadata.changed_json()
    except NotJson:
        metadata = None  # too large: a successful attempt fails for it before it comes here
    flushed = {"data": metadata, "dataType": "application/json"}
    return {
        "id": end.ctx.run.id,
        "taskIdentifier": end.ctx.task.id,
        "usage": {"durationMs": round(end.duration_ms, 3)},
        **({"flushedMetadata": flushed} if metadata is not None else {}),
    }


def _error_for_stop(end: AttemptEnd, stopped: TaskInterrupted, code_dir: Path) -> dict[str, Any]:
    if isinstance(stopped, TaskTimedOut):
        return internal_error("MAX_DURATION_EXCEEDED", str(stopped), end.raised, code_dir)
    assert isinstance(stopped, TaskCancelled)
    return internal_error("TASK_RUN_CANCELLED", "the run was cancelled")


def _error_for_raise(
    end: AttemptEnd, raised: BaseException, code_dir: Path
) -> tuple[dict[str, Any], bool]:
    """Give the error, and whether it is final: the same code cannot do better next time."""
    said = f"{type(raised).__name__}: {message_of(raised)}"
    place = end.ctx.task.file_path
    if isinstance(raised, MemoryError):
        return internal_error(
            "TASK_PROCESS_OOM_KILLED", "the task ran out of memory", raised, code_dir
        ), True
    if isinstance(raised, TaskNotFound) and end.stage == "import":
        return internal_error("COULD_NOT_FIND_TASK", str(raised)), True
    if end.stage == "import":
        told = f"importing {place} failed: {said}"
        return internal_error("COULD_NOT_IMPORT_TASK", told, raised, code_dir), True
    if end.stage == "payload":
        return internal_error("TASK_INPUT_ERROR", message_of(raised)), True
    if end.stage == "output":
        return internal_error("TASK_OUTPUT_ERROR", message_of(raised)), True
    return built_in_error(raised, code_dir), isinstance(raised, AbortTaskRun)


def _retry(end: AttemptEnd, *, now_ms: float, jitter: float) -> dict[str, Any]:
    policy = (end.task.retry if end.task is not None else None) or DEFAULT_RETRY
    attempt = end.ctx.attempt.number
    if attempt >= (end.ctx.run.max_attempts or policy.max_attempts):
        return {}
    delay_ms = retry_delay_ms(policy, attempt, jitter=jitter)
    return {"retry": {"timestamp": now_ms + delay_ms, "delay": delay_ms}}
