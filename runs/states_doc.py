"""`python -m runs.states_doc`: the tables of `docs/run-states.md`, from the table of states itself.

What a state or an event means is the comment beside its enum member: the page says what the code
says. A test compares the page with it.
"""

from __future__ import annotations

import inspect
import re
from enum import StrEnum
from pathlib import Path

from runs.states import FINAL, LEASED, TRANSITIONS, Event, ExecutionStatus, RunStatus, State

PAGE = Path(__file__).resolve().parents[1] / "docs" / "run-states.md"
BEGIN = "<!-- states: begin, written by python -m runs.states_doc -->\n"
END = "<!-- states: end -->"
_MEMBER = re.compile(r'^    (\w+) = "\w+"  # (.+)$', re.MULTILINE)
_EVENT_WIDTH = 16
_MOVES_HEAD = """## Moves

From each execution status: the event, and the execution status / run status after it. A move that
is not here is refused.
"""


def with_states(page: str) -> str:
    """Give the page with what stands between its marks written anew; ValueError without marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no marks for the states")
    return f"{before}{BEGIN}{states_text()}{END}{after}"


def states_text() -> str:
    """Give both tables of states, the events, and every move."""
    parts = [
        "## Execution status\n\nWhere a run stands for the engine.\n",
        _table(("status", "meaning", "leased"), _execution_rows()),
        "## Run status\n\nWhere a run stands for its owner.\n",
        _table(("status", "meaning", "final"), _run_rows()),
        "## Events\n",
        _table(("event", "meaning"), [(f"`{name}`", text) for name, text in _meanings(Event)]),
        _MOVES_HEAD,
        f"```\n{_moves()}```\n",
    ]
    return "\n".join(parts)


def _execution_rows() -> list[tuple[str, ...]]:
    leased = {state.name for state in LEASED}
    return [
        (f"`{name}`", text, "yes" if name in leased else "")
        for name, text in _meanings(ExecutionStatus)
    ]


def _run_rows() -> list[tuple[str, ...]]:
    final = {status.name for status in FINAL}
    return [
        (f"`{name}`", text, "yes" if name in final else "") for name, text in _meanings(RunStatus)
    ]


def _moves() -> str:
    lines: list[str] = []
    for state in ExecutionStatus:
        moves = [(event, to) for (start, event), to in TRANSITIONS.items() if start is state]
        if moves:
            lines.append(state.value)
            lines += [f"  {event:<{_EVENT_WIDTH}} -> {_written(to)}" for event, to in moves]
    return "".join(f"{line}\n" for line in lines)


def _written(state: State) -> str:
    return f"{state.execution} / {state.run or 'what the error says'}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _meanings(enum: type[StrEnum]) -> list[tuple[str, str]]:
    """Give each member's name on the wire and the comment beside it."""
    comments = dict(_MEMBER.findall(inspect.getsource(enum)))
    return [(member.value, comments[member.name]) for member in enum]


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(with_states(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
