"""The examples do what their descriptions say, executed by the real runner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossfade.cli.indexing import build
from tests.fake_rest_api import PROD_KEY, FakePlatform, serving_rest
from tests.fake_workload_api import FakeRun
from tests.runner_process import ROOT, finish, runner

EXAMPLES = ROOT / "examples"


def run_example(file_path: str, export_name: str, payload: Any, **extra: Any) -> FakeRun:
    """Execute an example to its end."""
    run = FakeRun(
        file_path=file_path, export_name=export_name, payload=json.dumps(payload), **extra
    )
    with runner(run, EXAMPLES) as process:
        assert finish(process).code == 0
    return run


def test_the_folder_deploys_as_it_is() -> None:
    """All examples are found, without their requirements installed."""
    assert build(EXAMPLES).task_ids == [
        "chaos-append", "fan-in-sum", "flaky", "hello-world", "sales-report", "sum-part",
        "thumbnail",
    ]  # fmt: skip


def test_hello_world() -> None:
    """It greets, and says so in its log."""
    run = run_example("tasks.py", "hello_world", {"name": "Ada"})
    assert json.loads(run.completions[0]["output"]) == {"message": "Hello, Ada!"}
    assert run.texts() == ["greeting Ada"]


def test_flaky() -> None:
    """It fails twice and succeeds on its third attempt."""
    run = run_example("tasks.py", "flaky", None)
    assert [item["ok"] for item in run.completions] == [False, False, True]


def test_chaos_append(tmp_path: Path) -> None:
    """It leaves one line for its attempt."""
    file = tmp_path / "marks"
    run_example("tasks.py", "chaos_append", {"file": str(file), "token": "t1", "sleepMs": 1})
    assert file.read_text("utf-8") == "run_1 1 t1\n"


def test_sales_report() -> None:
    """It adds up the bundled file; the regions' totals are the whole."""
    whole = json.loads(run_example("report.py", "sales_report", None).completions[0]["output"])
    north = run_example("report.py", "sales_report", {"region": "north"})
    assert (whole["rows"], json.loads(north.completions[0]["output"])["rows"]) == (84, 28)


def test_fan_in_sum() -> None:
    """The parent triggers its parts with keys that name it, and adds up what they return."""
    platform = FakePlatform()
    for number, part in enumerate((9, 6), start=1):
        platform.statuses_to_come[f"run_{number}"] = ["EXECUTING", "COMPLETED"]
        platform.outputs[f"run_{number}"] = {"sum": part}
    with serving_rest(platform) as url:
        run = run_example(
            "fan_in.py",
            "fan_in_sum",
            {"numbers": [1, 2, 3, 4, 5], "parts": 2},
            env_vars={"TRIGGER_API_URL": url, "TRIGGER_SECRET_KEY": PROD_KEY},
        )
    assert json.loads(run.completions[0]["output"]) == {"sum": 15, "parts": 2}
    triggered = list(platform.runs.values())
    assert [item["payload"] for item in triggered] == [{"numbers": [1, 3, 5]}, {"numbers": [2, 4]}]
    assert [item["options"]["parentRunId"] for item in triggered] == ["run_1", "run_1"]
    assert [item["options"]["idempotencyKeyOptions"]["key"] for item in triggered] == [
        "run_1-0", "run_1-1",
    ]  # fmt: skip
