"""Calling the task: import it, read its payload, run it, turn what it returns into JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crossfade.context import entered
from crossfade.errors import NotJson
from crossfade.loading import load_task
from crossfade.runner.execution import Execution, read_payload
from crossfade.strict_json import to_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crossfade.definition import Task
    from crossfade.runner.interrupt import Interrupter

LARGEST_OUTPUT_BYTES = 10 * 1024 * 1024


@dataclass(slots=True)
class Call:
    """One call of a task's function, and how far it got: the failure's kind depends on that."""

    execution: Execution
    code_dir: Path
    interrupter: Interrupter
    stage: str = "import"  # then payload, function, output
    task: Task[..., Any] | None = None

    def run(self) -> str | None:
        """Give the output as JSON text; None when the task returned nothing."""
        info = self.execution.ctx.task
        self.task = load_task(self.code_dir, info.file_path, info.export_name)
        # A logging configuration made at import disables, by default, every logger made before it.
        self.execution.ctx.logger.disabled = False
        self.stage = "payload"
        payload = read_payload(self.execution.payload, self.execution.payload_type)
        self.stage = "function"
        value = self._call_function(self.task, payload)
        self.stage = "output"
        return None if value is None else _output_json(value)

    def _call_function(self, task: Task[..., Any], payload: Any) -> Any:
        arguments = task.signature.arguments(payload, self.execution.ctx)
        with entered(self.execution.ctx):
            if task.is_async:
                return _run_coroutine(task.fn, arguments, self.interrupter)
            return task.fn(**arguments)


def _output_json(value: Any) -> str:
    text = to_json(value, name="output")
    size = len(text.encode())
    if size > LARGEST_OUTPUT_BYTES:
        most = LARGEST_OUTPUT_BYTES // 1_048_576
        raise NotJson("output", f"is {size / 1_048_576:.1f} MB as JSON; at most {most} MB are kept")
    return text


def _run_coroutine(
    fn: Callable[..., Any], arguments: dict[str, Any], interrupter: Interrupter
) -> Any:
    import asyncio  # noqa: PLC0415 - 7 MB that a synchronous task need not carry

    async def main() -> Any:
        loop, current = asyncio.get_running_loop(), asyncio.current_task()
        assert current is not None
        interrupter.stop_coroutine_with(lambda: loop.call_soon_threadsafe(current.cancel))
        try:
            return await fn(**arguments)
        finally:
            interrupter.stop_coroutine_with(None)

    return asyncio.run(main())
