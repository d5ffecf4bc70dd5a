"""How many runs are taken, for whom, and how large: against a platform that keeps count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.supervisor_fixtures import platform, shared_dir, start_supervisor, uid_base
from tests.fakes.supervisor_process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.supervisor_process import SupervisorProcess
    from tests.fakes.worker_platform import FakePlatform

    Start = Callable[..., SupervisorProcess]

__all__ = ["platform", "shared_dir", "start_supervisor", "uid_base"]

SMALL = {
    "RESOURCE_MONITOR_OVERRIDE_CPU_TOTAL": "1",
    "RESOURCE_MONITOR_OVERRIDE_MEMORY_TOTAL_GB": "1",
    "CROSSFADE_CPU_OVERCOMMIT": "1",
    "CROSSFADE_MEMORY_OVERCOMMIT": "1",
    "CROSSFADE_MEMORY_FLOOR_GB": "0",
}
WAIT = "import time; time.sleep(60)"


def test_no_more_runs_than_fit(platform: FakePlatform, start_supervisor: Start) -> None:
    """With room for two, two runs execute, the rest stays queued and none is handed back."""
    runs = [platform.add_run(f"r{number}") for number in range(5)]
    supervisor = start_supervisor(WAIT, **SMALL)
    eventually(
        lambda: sum(run.status == "EXECUTING" for run in runs) == 2, what=supervisor.log_text
    )
    polls = len(platform.calls_of("heartbeat"))
    eventually(lambda: len(platform.calls_of("heartbeat")) > polls + 4)
    assert sorted(run.status for run in runs) == ["EXECUTING"] * 2 + ["QUEUED"] * 3
    assert all(run.failures == [] for run in runs)


def test_room_is_used_again(platform: FakePlatform, start_supervisor: Start) -> None:
    """When a run ends the next one takes its place, until all are done."""
    runs = [platform.add_run(f"r{number}") for number in range(6)]
    supervisor = start_supervisor(**SMALL)
    eventually(
        lambda: all(run.status == "FINISHED" for run in runs),
        what=supervisor.log_text,
    )
    assert all(run.dispatch == 1 for run in runs)


def test_too_large_a_run_is_left_to_others(platform: FakePlatform, start_supervisor: Start) -> None:
    """A run larger than this machine is never taken; one that needs most of it is."""
    too_large = platform.add_run("huge", cpu=9, memory=9)
    large = platform.add_run("large", cpu=5, memory=5)
    room = {name: "8" for name in SMALL if name.startswith("RESOURCE_MONITOR")}
    supervisor = start_supervisor(**{**SMALL, **room})
    eventually(lambda: large.status == "FINISHED", what=supervisor.log_text)
    assert too_large.dispatch == 0


def test_what_does_not_fit_is_handed_back(platform: FakePlatform, start_supervisor: Start) -> None:
    """A platform that hands out more than was asked for gets the run back as no_capacity."""
    supervisor = start_supervisor(**SMALL)
    run = platform.add_run("wrong", cpu=0.5, memory=0.5)
    eventually(lambda: run.status == "FINISHED", what=supervisor.log_text)
    platform.ignore_room = True
    large = platform.add_run("larger", cpu=4, memory=8)
    eventually(lambda: large.status == "FINISHED", what=supervisor.log_text)
    assert {failure["reason"] for failure in large.failures} == {"no_capacity"}
    assert large.attempt == 0


def test_busy_group_does_not_starve_another(
    platform: FakePlatform, start_supervisor: Start
) -> None:
    """With one group's queue full, a run of the other group is taken while that queue lasts."""
    busy = [platform.add_run(f"busy{number}", group="group-a") for number in range(12)]
    quiet = platform.add_run("quiet", group="group-b")
    supervisor = start_supervisor(**SMALL)
    eventually(lambda: quiet.status == "FINISHED", what=supervisor.log_text)
    assert any(run.status == "QUEUED" for run in busy)


def test_low_memory_stops_leasing(platform: FakePlatform, start_supervisor: Start) -> None:
    """With less memory really free than the floor, nothing is leased, and heartbeats go on."""
    run = platform.add_run("waiting")
    supervisor = start_supervisor(**{**SMALL, "CROSSFADE_MEMORY_FLOOR_GB": "100000"})
    eventually(lambda: len(platform.calls_of("heartbeat")) > 4, what=supervisor.log_text)
    assert run.status == "QUEUED"
    assert platform.calls_of("dequeue") == []


def test_heartbeat_tells_what_is_used(platform: FakePlatform, start_supervisor: Start) -> None:
    """A heartbeat carries real figures and the runs that execute for the group."""
    run = platform.add_run("beating")
    start_supervisor(WAIT)
    eventually(lambda: any(body["tasks"] == [run.id] for _, body in platform.calls_of("heartbeat")))
    body = platform.calls_of("heartbeat")[-1][1]
    assert body["memory"]["used"] > 0
    assert body["memory"]["available"] > 0
    assert body["cpu"]["used"] + body["cpu"]["available"] > 0


def test_every_poll_names_its_room(platform: FakePlatform, start_supervisor: Start) -> None:
    """The offers of polls that are out together never exceed the machine."""
    supervisor = start_supervisor(**SMALL, TRIGGER_DEQUEUE_MAX_CONSUMER_COUNT="4")
    eventually(lambda: len(platform.calls_of("dequeue")) > 4, what=supervisor.log_text)
    offers = [body["maxResources"] for _, body in platform.calls_of("dequeue")]
    assert all(offer["cpu"] <= 1 and offer["memory"] <= 1 for offer in offers)
