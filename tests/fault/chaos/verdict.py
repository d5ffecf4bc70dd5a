"""What a storm did, told from the runs and from the marks their attempts left. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Verdict(NamedTuple):
    """What must be empty, and what is good to know."""

    lost: list[str]  # acknowledged, and unknown or not final
    twice: list[str]  # "<run> <attempt>" that began more than once
    strangers: list[str]  # marks of runs that nobody was told of
    unmarked: list[str]  # runs that succeeded and whose last attempt left no mark
    failed: list[str]  # final, and their tasks would have returned
    statuses: Mapping[str, int]
    attempts: int  # marks in all


def judge(
    acknowledged: Mapping[str, bool], runs: Mapping[str, Mapping[str, Any]], marks: Iterable[str]
) -> Verdict:
    """Judge a storm.

    `acknowledged` says of each run that was answered whether it leaves marks, `runs` is how each
    was read last, `marks` are the lines `<run> <attempt> <token>`.
    """
    begun = Counter(" ".join(line.split()[:2]) for line in marks)
    ended = {name: run for name, run in runs.items() if run["isCompleted"]}
    succeeded = [name for name, run in ended.items() if run["isSuccess"]]
    return Verdict(
        lost=sorted(set(acknowledged) - set(ended)),
        twice=sorted(mark for mark, times in begun.items() if times > 1),
        strangers=sorted({mark.split()[0] for mark in begun} - set(acknowledged)),
        unmarked=[
            name
            for name in sorted(succeeded)
            if acknowledged[name] and f"{name} {runs[name]['attemptCount']}" not in begun
        ],
        failed=sorted(set(ended) - set(succeeded)),
        statuses=Counter(str(run["status"]) for run in runs.values()),
        attempts=begun.total(),
    )
