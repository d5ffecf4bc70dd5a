"""A runner that imported its code before it knew its run does exactly what a cold one does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_workload_api import FakeRun, serving
from tests.runner_process import execute, finish, warmed

if TYPE_CHECKING:
    from pathlib import Path

IMPORTING = """
    print("importing")
    logging.basicConfig()
    logging.warning("careful")
    PID, PATH = os.getpid(), list(sys.path)

    @task
    def main():
        print("running")
        return {"same": PID == os.getpid(), "id": os.environ["TRIGGER_RUN_ID"], "path": PATH}
"""


def output(run: FakeRun) -> Any:
    """Give what the run returned."""
    [completion] = run.completions
    assert completion["ok"] is True, completion
    return json.loads(completion["output"])


def run_warm(run: FakeRun, code_dir: Path, source: str, **env: str) -> Any:
    """Let a warm runner execute a run to its end, and give the output."""
    with warmed(code_dir, source) as warm, serving(run) as port:
        assert warm.said() == {"ready": True}
        assert run.calls.total() == 0
        warm.obey(port, code_dir, **env)
        ended = finish(warm.process)
    assert (ended.code, ended.stderr) == (0, "")
    return output(run)


def test_code_is_imported_before_the_run_and_once(tmp_path: Path) -> None:
    """The import is over when the orders come, and its output begins the attempt's, as if cold."""
    warm, cold = FakeRun(), FakeRun()
    result = run_warm(warm, tmp_path, IMPORTING)
    execute(cold, tmp_path, IMPORTING)
    assert (result["same"], result["id"]) == (True, "run_1")
    assert warm.texts() == cold.texts() == ["importing", "WARNING:root:careful", "running"]
    assert [line["stream"] for line in warm.lines.values()] == [
        line["stream"] for line in cold.lines.values()
    ]
    assert result == output(cold)


READING = """
    SEEN = os.environ.get("FLAVOUR")
    os.environ.setdefault("CHOSEN", "by the code")

    print("importing")

    @task
    def main():
        return [SEEN, os.environ["CHOSEN"], os.environ.get("FLAVOUR")]
"""


@pytest.mark.parametrize(
    ("env_vars", "orders", "seen"),
    [
        ({"FLAVOUR": "sweet"}, {}, ["sweet", "by the code", "sweet"]),
        ({}, {"FLAVOUR": "sour"}, ["sour", "by the code", "sour"]),
        ({"CHOSEN": "by the run"}, {}, [None, "by the run", None]),
        ({"OTHER": "x"}, {"ANOTHER": "y"}, [None, "by the code", None]),
    ],
)
def test_an_import_that_read_another_environment_is_not_used(
    tmp_path: Path, env_vars: dict[str, str], orders: dict[str, str], seen: list[str | None]
) -> None:
    """Whatever a module read or set at import, the task finds what a cold start would find."""
    run = FakeRun(env_vars=env_vars)
    assert run_warm(run, tmp_path, READING, **orders) == seen
    assert run.texts() == ["importing"]
    assert run.attempt == 1


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise ValueError('no key')", "ValueError: no key"),
        ("os.environ['API_KEY']", "KeyError: 'API_KEY'"),
        ("sys.exit(3)", "SystemExit: 3"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("ALL = dict(os.environ)", "the code reads the whole environment"),
    ],
)
def test_what_cannot_be_imported_beforehand_says_why_and_ends(
    tmp_path: Path, source: str, why: str
) -> None:
    """A process whose import cannot be kept says so instead of waiting for a run."""
    with warmed(tmp_path, source) as warm:
        said = warm.said()
        assert finish(warm.process).code == 0
    assert said["ready"] is False
    assert said["why"].startswith(why)


def test_a_bare_one_leaves_the_import_to_the_run(tmp_path: Path) -> None:
    """Code that needs its run's variables is imported with them, in a process that waited."""
    run = FakeRun(env_vars={"API_KEY": "k"})
    source = "KEY = os.environ['API_KEY']\n\n@task\ndef main():\n    return KEY\n"
    with warmed(tmp_path, source, CROSSFADE_WARM_BARE="1") as warm, serving(run) as port:
        assert warm.said() == {"ready": True}
        warm.obey(port, tmp_path)
        assert finish(warm.process).code == 0
    assert output(run) == "k"


def test_files_that_are_no_modules_are_imported_once_too(tmp_path: Path) -> None:
    """A file whose name is no identifier is not executed a second time by its run."""
    run = FakeRun(file_path="my-tasks.py")
    (tmp_path / "my-tasks.py").write_text(
        "from crossfade import task\nprint('importing')\n\n@task\ndef main():\n    return 1\n"
    )
    assert run_warm(run, tmp_path, "") == 1
    assert run.texts() == ["importing"]


def test_retries_happen_in_the_same_process(tmp_path: Path) -> None:
    """A second attempt follows the first, and only the first shows what the import wrote."""
    run = FakeRun(run_extra={"maxAttempts": 2})
    source = """
        print("importing")

        @task(retry=Retry(max_attempts=2, min_timeout_ms=1))
        def main(ctx):
            assert ctx.attempt.number == 2
    """
    with warmed(tmp_path, source) as warm, serving(run) as port:
        warm.said()
        warm.obey(port, tmp_path)
        assert finish(warm.process).code == 0
    assert [completion["ok"] for completion in run.completions] == [False, True]
    assert (run.texts(1), run.texts(2)) == (["importing"], [])


def test_without_orders_it_ends_and_has_done_nothing(tmp_path: Path) -> None:
    """When whoever would send the orders is gone, the process goes too."""
    with warmed(tmp_path, IMPORTING) as warm:
        warm.said()
        warm.line.close()
        assert finish(warm.process).code == 0
