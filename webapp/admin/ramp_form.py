"""The form of a new ramp: a dial, and rows of a value with its time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django import forms

from flags.catalog import CATALOG, FlagType
from flags.ramps import Step
from webapp.admin.forms import ReasonForm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.forms import BoundField

    from tenants.errors import Problem

ROWS: Final = 8
UNITS: Final = {"minutes": 60, "hours": 3600, "days": 86400}
MAX_DIGITS: Final = 6
# What is offered to begin with: each step five times the one before, each held longer.
SUGGESTED: Final = ((1, 1, "hours"), (5, 4, "hours"), (25, 1, "days"), (100, 1, "days"))


@dataclass(frozen=True, slots=True)
class StepRow:
    """The fields of one step."""

    number: int
    value: BoundField
    hold: BoundField
    unit: BoundField

    @property
    def errors(self) -> list[str]:
        """What is wrong with the step."""
        return [
            str(error) for field in (self.value, self.hold, self.unit) for error in field.errors
        ]


class RampForm(ReasonForm):
    """A new ramp. A row without a value is no step; `steps` are those of a valid form."""

    flag = forms.ChoiceField(
        label="Dial",
        choices=[(key, key) for key, spec in CATALOG.items() if spec.type is FlagType.PERCENT],
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.steps: tuple[Step, ...] = ()
        self._places: list[int] = []  # the row of each step
        for row in range(ROWS):
            value, hold, unit = SUGGESTED[row] if row < len(SUGGESTED) else ("", "", "hours")
            self.fields[f"value-{row}"] = forms.CharField(required=False, initial=value)
            self.fields[f"hold-{row}"] = forms.CharField(required=False, initial=hold)
            self.fields[f"unit-{row}"] = forms.ChoiceField(
                choices=[(name, name) for name in UNITS], initial=unit, required=False
            )
            for name, label in (("value", "per cent"), ("hold", "holds for"), ("unit", "unit")):
                shown = {"aria-label": f"Step {row + 1}, {label}", "inputmode": "numeric"}
                self.fields[f"{name}-{row}"].widget.attrs.update(shown)
        self.order_fields(["flag", *(name for name in self.fields if "-" in name), "reason"])

    def rows(self) -> Iterator[StepRow]:
        """Give the fields, row by row."""
        for row in range(ROWS):
            yield StepRow(row + 1, self[f"value-{row}"], self[f"hold-{row}"], self[f"unit-{row}"])

    def clean(self) -> dict[str, Any]:
        """Read the rows that have a value; raise nothing, say beside a row what is wrong."""
        said = self.cleaned_data
        steps = []
        for row in range(ROWS):
            value, hold = said.get(f"value-{row}", ""), said.get(f"hold-{row}", "")
            if not value and not hold:
                continue
            seconds = UNITS.get(said.get(f"unit-{row}", ""), 0)
            if not (_is_whole(value) and _is_whole(hold)):
                self.add_error(f"value-{row}", "Whole numbers: per cent, and how long it holds.")
                continue
            steps.append(Step(int(value), int(hold) * seconds))
            self._places.append(row)
        self.steps = tuple(steps)
        return said

    def add_problem(self, problem: Problem) -> None:
        """Say what the service refused, beside its row."""
        parts = problem.key.split(".")
        place = int(parts[1]) if len(parts) > 1 and parts[0] == "steps" else None
        field = None if place is None else f"value-{self._places[place]}"
        named = "flag" if problem.key == "flag" else field
        self.add_error(named, problem.message)


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
