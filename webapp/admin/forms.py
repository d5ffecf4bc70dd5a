"""Forms of the operators' pages. What a value may be is said where the API says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.core.exceptions import ValidationError
from pydantic import TypeAdapter
from pydantic import ValidationError as WrongShape

from tenants.words import Plan
from webapp.api.shapes import Label, Name, Text
from webapp.api.staff_workers import Priority

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_REASON: Final = 1000
UNKNOWN_PLAN: Final = ""
ACCESS: Final = "yes"
NO_ACCESS: Final = "no"


def _shaped(shape: Any, sentence: str) -> Callable[[Any], None]:
    """Give a validator of a shape of the API, which says `sentence` when it is another."""
    adapter: TypeAdapter[Any] = TypeAdapter(shape)

    def validate(value: Any) -> None:
        try:
            adapter.validate_python(value)
        except WrongShape as error:
            raise ValidationError(sentence) from error

    return validate


class ReasonForm(forms.Form):
    """Why something is changed; it stays in the audit for ever."""

    reason = forms.CharField(
        max_length=MAX_REASON,
        label="Reason",
        help_text="Stays in the audit, with your name.",
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": "Say why: the audit keeps it."},
    )


class RebuildForm(ReasonForm):
    """Which templates of a version are built again."""

    include_ready = forms.BooleanField(
        required=False,
        label="Those that are ready, too",
        help_text="For a gateway that lost them. They count as not ready until they are built.",
    )
    field_order = ("include_ready", "reason")


class PlanForm(ReasonForm):
    """What an organization pays, and whether it may run anything new."""

    plan = forms.ChoiceField(
        required=False,
        label="Plan",
        choices=[(UNKNOWN_PLAN, "unknown"), *((plan.value, plan.value) for plan in Plan)],
        show_hidden_initial=True,
    )
    access = forms.ChoiceField(
        label="Access",
        choices=[(ACCESS, "yes"), (NO_ACCESS, "out of credits: nothing new is run")],
        show_hidden_initial=True,
    )
    field_order = ("plan", "access", "reason")


class GroupForm(ReasonForm):
    """What may be changed of a worker group. Only what differs from what was shown is written."""

    workload_type = forms.ChoiceField(
        label="Workload type",
        choices=[("CONTAINER", "Container"), ("MICROVM", "MicroVM")],
        show_hidden_initial=True,
    )
    region = forms.CharField(
        required=False,
        label="Region",
        help_text="The geography, as customers read it. Empty: no label, so it never migrates.",
        validators=[_shaped(Label, "At most 100 characters, without comma and colon.")],
        show_hidden_initial=True,
    )
    priority = forms.IntegerField(
        initial=100,
        label="Priority",
        help_text="Lower goes first, then the name.",
        validators=[_shaped(Priority, "A whole number of at most 32 bits.")],
        show_hidden_initial=True,
    )
    description = forms.CharField(
        required=False,
        label="Description",
        help_text="The place, for people.",
        validators=[_shaped(Text, "At most 200 characters on one line.")],
        show_hidden_initial=True,
    )
    location = forms.CharField(
        required=False,
        label="Location",
        validators=[_shaped(Text, "At most 200 characters on one line.")],
        show_hidden_initial=True,
    )
    hidden = forms.BooleanField(
        required=False,
        label="Hidden",
        help_text="Not offered to customers, and no backing.",
        show_hidden_initial=True,
    )
    enable_fast_path = forms.BooleanField(
        required=False, label="Fast path", show_hidden_initial=True
    )
    make_default = forms.BooleanField(
        required=False,
        label="Make it the default",
        help_text="Of its project; of everyone, when it is shared.",
    )
    field_order: tuple[str, ...] = (
        "workload_type",
        "region",
        "priority",
        "description",
        "location",
        "hidden",
        "enable_fast_path",
        "make_default",
        "reason",
    )


class NewGroupForm(GroupForm):
    """A new worker group."""

    name = forms.CharField(
        label="Name",
        help_text="Of a shared group it is the worker queue, too. It cannot be changed.",
        validators=[
            _shaped(
                Name, "Letters, digits, dot, dash and underscore; begins with one of the first."
            )
        ],
    )
    project = forms.CharField(
        required=False,
        label="Project",
        help_text="The ref of the one project it serves (proj_...). Empty: shared by all.",
    )
    field_order = ("name", "project", *GroupForm.field_order)
