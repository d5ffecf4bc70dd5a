"""The runner executes attempts: values in and out, failures told, retries in the same process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_workload_api import FakeRun
from tests.runner_process import execute, finish, runner

if TYPE_CHECKING:
    from pathlib import Path

ECHO = """
    @task
    def main(payload):
        return payload
"""


def test_a_run_succeeds_with_its_output(tmp_path: Path) -> None:
    """What the task returns is the output, as JSON, and the process ends with 0."""
    run = FakeRun(payload='{"name": "Ada"}')
    ended = execute(
        run,
        tmp_path,
        """
        @task
        def main(payload, ctx):
            return {"hello": payload["name"], "attempt": ctx.attempt.number}
        """,
    )
    assert (ended.code, ended.stderr) == (0, "")
    [completion] = run.completions
    assert completion["ok"] is True
    assert json.loads(completion["output"]) == {"hello": "Ada", "attempt": 1}
    assert completion["taskIdentifier"] == "main"


@pytest.mark.parametrize(
    ("payload", "payload_type", "expected"),
    [
        ('{"a": [1, null]}', "application/json", {"a": [1, None]}),
        ({"a": 1}, "application/json", {"a": 1}),
        (None, "application/json", None),
        ("", "application/json", None),
        ("just text", "text/plain", "just text"),
        (
            '{"json": {"d": "2026-01-01T00:00:00.000Z"}, "meta": {"values": {"d": ["Date"]}}}',
            "application/super+json",
            {"d": "2026-01-01T00:00:00.000Z"},
        ),
    ],
)
def test_payload_packets(tmp_path: Path, payload: Any, payload_type: str, expected: Any) -> None:
    """Every kind of payload packet reaches the task as its value."""
    run = FakeRun(payload=payload, payload_type=payload_type)
    assert execute(run, tmp_path, ECHO).code == 0
    [completion] = run.completions
    assert json.loads(completion.get("output", "null")) == expected


def test_a_broken_payload_is_an_input_error(tmp_path: Path) -> None:
    """A payload that is not what its type says fails the run without another attempt."""
    run = FakeRun(payload="{nope")
    assert execute(run, tmp_path, ECHO).code == 0
    [completion] = run.completions
    assert completion["error"]["code"] == "TASK_INPUT_ERROR"
    assert "retry" not in completion


def test_the_context_is_filled(tmp_path: Path) -> None:
    """The ctx holds what the platform said, and the run's environment variables are set."""
    run = FakeRun(run_extra={"region": "eu-central-1", "metadata": '{"m": 1}'}, env_vars={"A": "1"})
    execute(
        run,
        tmp_path,
        """
        @task
        def main(payload, ctx):
            return [ctx.run.id, list(ctx.run.tags), ctx.run.version, ctx.region, ctx.queue.name,
                    ctx.environment.type, ctx.environment.slug, ctx.organization.slug,
                    ctx.project.ref, ctx.machine.memory_gb, ctx.metadata.get("m"), os.environ["A"],
                    ctx.run.created_at.year, ctx.task.id]
        """,
    )
    assert json.loads(run.completions[0]["output"]) == [
        "run_1", ["a", "b"], "20261122.1", "eu-central-1", "task/main", "PRODUCTION", "prod",
        "acme", "proj_abc", 0.5, 1, "1", 2026, "main",
    ]  # fmt: skip


def test_async_tasks(tmp_path: Path) -> None:
    """A coroutine function is awaited."""
    run = FakeRun(payload="3")
    source = """
        @task
        async def main(payload, ctx):
            await asyncio.sleep(0.01)
            return payload * 2
    """
    assert execute(run, tmp_path, source).code == 0
    assert run.completions[0]["output"] == "6"


def test_failing_attempts_are_retried_in_the_same_process(tmp_path: Path) -> None:
    """A short retry starts warm from the returned snapshot, with fresh lines and the wait asked."""
    run = FakeRun()
    source = """
        PROCESS = []

        @task(retry=Retry(max_attempts=3, factor=1, min_timeout_ms=50, randomize=False))
        def main(payload, ctx):
            PROCESS.append(ctx.attempt.number)
            print("attempt", ctx.attempt.number)
            if ctx.attempt.number < 3:
                raise ValueError(f"no luck {ctx.attempt.number}")
            return PROCESS
    """
    assert execute(run, tmp_path, source).code == 0
    assert run.starts == [False, True, True]
    first, second, last = run.completions
    assert [first["retry"]["delay"], second["retry"]["delay"]] == [50, 50]
    assert json.loads(last["output"]) == [1, 2, 3]
    assert [run.texts(n) for n in (1, 2, 3)] == [["attempt 1"], ["attempt 2"], ["attempt 3"]]


def test_a_retry_through_the_queue_ends_the_process(tmp_path: Path) -> None:
    """When the platform takes the run back into its queue, the runner has nothing more to do."""
    run = FakeRun(retry_through_queue_ms=10)
    source = """
        @task(retry=Retry(min_timeout_ms=100))
        def main(payload):
            raise ValueError("later")
    """
    assert execute(run, tmp_path, source).code == 0
    assert len(run.completions) == 1
    assert run.snapshots[-1][1] == "QUEUED"


def test_the_last_attempt_offers_no_retry(tmp_path: Path) -> None:
    """The run's own number of attempts wins over the task's, and the last one has no next."""
    run = FakeRun(run_extra={"maxAttempts": 1})
    execute(run, tmp_path, "@task\ndef main(payload):\n    raise ValueError('x')\n")
    [completion] = run.completions
    assert "retry" not in completion


def test_errors_carry_the_authors_frames_and_causes(tmp_path: Path) -> None:
    """The traceback has the author's files by relative name, its causes, and none of ours."""
    run = FakeRun(run_extra={"maxAttempts": 1})
    source = """
        def inner():
            return {}["missing"]

        @task
        def main(payload):
            try:
                inner()
            except KeyError as error:
                raise RuntimeError("could not look up") from error
    """
    execute(run, tmp_path, source)
    error = run.completions[0]["error"]
    assert (error["type"], error["name"], error["message"]) == (
        "BUILT_IN_ERROR", "RuntimeError", "could not look up",
    )  # fmt: skip
    stack = error["stackTrace"]
    assert "KeyError: 'missing'" in stack
    assert "direct cause" in stack
    assert 'File "tasks.py", line' in stack
    assert "crossfade" not in stack
    assert str(tmp_path) not in stack


def test_abort_fails_without_another_attempt(tmp_path: Path) -> None:
    """AbortTaskRun ends the run at once."""
    run = FakeRun()
    execute(run, tmp_path, "@task\ndef main(payload):\n    raise AbortTaskRun('bad order')\n")
    [completion] = run.completions
    assert completion["error"]["name"] == "AbortTaskRun"
    assert (completion["skippedRetrying"], "retry" in completion) == (True, False)


def test_sys_exit_is_a_failed_attempt(tmp_path: Path) -> None:
    """sys.exit in a task fails its attempt; it does not end the runner unreported."""
    run = FakeRun(run_extra={"maxAttempts": 1})
    ended = execute(run, tmp_path, "@task\ndef main(payload):\n    sys.exit(3)\n")
    assert ended.code == 0
    assert run.completions[0]["error"]["message"] == "the task called sys.exit(3)"


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("raise RuntimeError('at import')", "COULD_NOT_IMPORT_TASK", "RuntimeError: at import"),
        ("import nothing_like_it", "COULD_NOT_IMPORT_TASK", "nothing_like_it"),
        ("def broken(:", "COULD_NOT_IMPORT_TASK", "SyntaxError"),
        ("main = 3", "COULD_NOT_FIND_TASK", "tasks.py has no task called main"),
    ],
)
def test_code_that_cannot_be_loaded(tmp_path: Path, source: str, code: str, said: str) -> None:
    """A module that fails at import, or lacks the task, fails the run with a word on why."""
    run = FakeRun()
    assert execute(run, tmp_path, source).code == 0
    [completion] = run.completions
    assert completion["error"]["code"] == code
    assert said in completion["error"]["message"]


def test_running_out_of_memory_is_told_as_such(tmp_path: Path) -> None:
    """An uncaught MemoryError is the platform's out-of-memory code."""
    run = FakeRun()
    execute(run, tmp_path, "@task\ndef main(payload):\n    raise MemoryError\n")
    assert run.completions[0]["error"]["code"] == "TASK_PROCESS_OOM_KILLED"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{'items': [1, {'when': __import__('datetime').datetime.now()}]}",
         "output.items[1].when is a datetime; JSON has no dates: use .isoformat()"),
        ("[float('nan')]", "output[0] is nan"),
        ("{1: 'x'}", "output has the key 1, an int"),
        ("'x' * 11_000_000", "at most 10 MB"),
    ],
)  # fmt: skip
def test_output_that_is_no_json(tmp_path: Path, value: str, said: str) -> None:
    """What cannot be kept as JSON fails with the path to it, without another attempt."""
    run = FakeRun()
    execute(run, tmp_path, f"@task\ndef main(payload):\n    return {value}\n")
    [completion] = run.completions
    assert completion["error"]["code"] == "TASK_OUTPUT_ERROR"
    assert said in completion["error"]["message"]
    assert "retry" not in completion


def test_metadata_is_sent_when_the_attempt_ends(tmp_path: Path) -> None:
    """Changed metadata goes with the completion, of failed attempts too; unchanged does not."""
    run = FakeRun(run_extra={"metadata": {"n": 1, "log": ["a"]}})
    source = """
        @task(retry=Retry(min_timeout_ms=10))
        def main(payload, ctx):
            if ctx.attempt.number == 2:
                return
            ctx.metadata.increment("n", 2)
            ctx.metadata.append("log", "b")
            raise ValueError
    """
    execute(run, tmp_path, source)
    first, second = run.completions
    assert json.loads(first["flushedMetadata"]["data"]) == {"n": 3, "log": ["a", "b"]}
    assert "flushedMetadata" not in second


def test_a_file_whose_name_is_taken_by_another_module(tmp_path: Path) -> None:
    """A tasks file called like a module of Python's own is still the one that runs."""
    run = FakeRun(file_path="logging.py", payload="1")
    (tmp_path / "logging.py").write_text(
        "from crossfade import task\n@task\ndef main(payload):\n    return payload\n", "utf-8"
    )
    with runner(run, tmp_path) as process:
        assert finish(process).code == 0
    assert run.completions[0]["output"] == "1"
