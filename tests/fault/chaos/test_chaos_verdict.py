"""The storm and its judge, without a storm: what is drawn, and that nothing wrong goes unseen."""

from __future__ import annotations

from typing import Any

from tests.fault.chaos.storm import HOLDERS, KILLED, MARKING, Size, plan_storm
from tests.fault.chaos.verdict import judge


def run(*, final: bool = True, success: bool = True, attempts: int = 1) -> dict[str, Any]:
    """Give a run as it is read."""
    status = "COMPLETED" if final else "EXECUTING"
    return {
        "isCompleted": final,
        "isSuccess": success,
        "attemptCount": attempts,
        "status": status,
    }


def test_a_storm_is_drawn_from_its_seed() -> None:
    """One seed gives one storm, another seed another; within it everything is in order."""
    size = Size(runs=50, triggered_in_s=9, kills=20, killed_in_s=20)
    drawn = [plan_storm(seed, size, file="f") for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert [kill.at_s for kill in drawn[0].kills] == sorted(kill.at_s for kill in drawn[0].kills)
    assert {kill.process for kill in drawn[0].kills[: len(KILLED)]} == set(KILLED)
    assert {trigger.task for trigger in drawn[0].triggers} == {"hello-world", "flaky", MARKING}
    assert drawn[0].triggers[-1].at_s < 9 < drawn[0].kills[-1].at_s < 20
    aimed = plan_storm(1, size._replace(killed=HOLDERS), file="f")
    assert {kill.process for kill in aimed.kills} == set(HOLDERS)


def test_a_good_storm_has_nothing_to_tell() -> None:
    """Final runs with one mark for each attempt are as they should be."""
    verdict = judge({"a": True, "b": False}, {"a": run(attempts=2), "b": run()}, ["a 1 t", "a 2 t"])
    assert verdict[:5] == ([], [], [], [], [])
    assert (verdict.attempts, verdict.statuses) == (2, {"COMPLETED": 2})


def test_the_judge_sees_what_must_not_be() -> None:
    """Runs that are away, go on or failed, an attempt begun twice, a stranger, a missing mark."""
    names = ("away", "open", "double", "unmarked", "failed")
    acknowledged = dict.fromkeys(names, True)
    runs = {"open": run(final=False), "double": run(), "unmarked": run(attempts=2)}
    runs["failed"] = run(success=False)
    marks = ["double 1 t", "double 1 t", "stranger 1 t", "unmarked 1 t"]
    verdict = judge(acknowledged, runs, marks)
    assert verdict.lost == ["away", "open"]
    assert verdict.twice == ["double 1"]
    assert verdict.strangers == ["stranger"]
    assert verdict.unmarked == ["unmarked"]
    assert verdict.failed == ["failed"]
