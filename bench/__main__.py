"""`python -m bench [GROUP...]`: measure and write `bench/results/latest.json`.

Without a group all are measured. A run of some groups replaces their rows only.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType

from bench.groups import migration, placement, queue, stack, start, template, trigger
from bench.pages import RESULTS, write_pages
from bench.results import merged, read_rows, text_table, write_rows
from bench.rows import GROUPS, Row, complete
from bench.waiting import Unmeasurable
from webapp.embedded.environment import Choices, read_choices

MEASURES: Mapping[str, Callable[[Choices], list[Row]]] = {
    "stack": stack.measure,
    "placement": placement.measure,
    "trigger": trigger.measure,
    "queue": queue.measure,
    "start": start.measure,
    "migration": migration.measure,
    "template": template.measure,
}
TERMINATED = 143


def main() -> int:
    """Measure, write, show; give 1 when a group could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], metavar="GROUP")
    groups = parser.parse_args().groups or GROUPS
    signal.signal(signal.SIGTERM, _end)
    choices = read_choices(os.environ)  # noqa: TID251 - the edge of the benchmarks
    failed = [group for group in groups if not _measure(group, choices)]
    rows = read_rows(RESULTS)
    write_pages(rows)
    print(f"\n{text_table(rows)}")
    return 1 if failed else 0


def _measure(group: str, choices: Choices) -> bool:
    """Measure one group and keep its rows; say whether it could be done."""
    print(f"measuring {group} ...", flush=True)
    began = time.monotonic()
    why = ""
    try:
        rows = MEASURES[group](choices)
    except Unmeasurable as error:
        why, rows = str(error), []
    write_rows(
        RESULTS, merged(read_rows(RESULTS), complete(group, rows, why=why or "not measured"))
    )
    print(f"measured {group} in {time.monotonic() - began:.0f} s{why and ': not, '}{why}")
    return not why


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
