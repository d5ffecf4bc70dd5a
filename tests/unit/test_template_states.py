"""The life of a compute template, what a gateway's answer means per preset, and the presets."""

from __future__ import annotations

import doctest
import itertools
from typing import Any

import pytest

from compute.contracts import TemplateCreateResponse
from compute.gateway import callbacks
from compute.gateway.callbacks import REPEATED_FOR_S, decide_pause_s
from compute.retry import CreateFailure, FailureKind, is_template_retryable
from crossfade.machines import MACHINES
from deployments import machines, template_results, template_states
from deployments.machines import PRESETS, InvalidPresets, read_presets
from deployments.models.templates import ComputeTemplate
from deployments.template_results import (
    NOT_BUILT,
    PresetState,
    errors_by_preset,
    failure_text,
    warnings_of,
)
from deployments.template_states import (
    LONGEST_PAUSE_S,
    MAX_ATTEMPTS,
    TRANSITIONS,
    IllegalTemplateMove,
    TemplateEvent,
    TemplateState,
    decide_after_failure,
    next_template_state,
    pause_s,
)

PRODUCT = list(itertools.product(TemplateState, TemplateEvent))


@pytest.mark.parametrize(("state", "event"), PRODUCT)
def test_every_pair_moves_by_the_table_or_is_refused(
    state: TemplateState, event: TemplateEvent
) -> None:
    """Each state and event leads where the table says, and anywhere else nothing leads."""
    if (state, event) in TRANSITIONS:
        assert next_template_state(state, event) is TRANSITIONS[state, event]
        return
    with pytest.raises(IllegalTemplateMove, match=state.value) as refused:
        next_template_state(state, event)
    assert (refused.value.state, refused.value.event) == (state, event)


def test_the_database_knows_the_states() -> None:
    """The constraint lists exactly the states of the table."""
    (known,) = [
        one for one in ComputeTemplate._meta.constraints if one.name.endswith("status_known")
    ]
    assert dict(known.deconstruct()[2])["condition"].children == [
        ("status__in", [state.value for state in TemplateState])
    ]


def test_only_a_failure_that_may_pass_is_repeated_and_not_for_ever() -> None:
    """Attempts end after a number of them, each pause longer than the last, up to a bound."""
    chances = [decide_after_failure(is_retryable=True, attempts=n) for n in range(1, 9)]
    assert chances.count(TemplateEvent.RETRY) == MAX_ATTEMPTS - 1
    assert chances == sorted(chances, key=lambda event: event is TemplateEvent.GIVE_UP)
    assert decide_after_failure(is_retryable=False, attempts=1) is TemplateEvent.GIVE_UP
    pauses = [pause_s(attempts) for attempts in range(1, 50)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S


@pytest.mark.parametrize(
    ("failure", "repeated"),
    [
        (CreateFailure(FailureKind.STATUS, 500), True),
        (CreateFailure(FailureKind.STATUS, 502), True),
        (CreateFailure(FailureKind.STATUS, 503), True),
        (CreateFailure(FailureKind.STATUS, 504), True),
        (CreateFailure(FailureKind.STATUS, 429), True),
        (CreateFailure(FailureKind.STATUS, 401), True),
        (CreateFailure(FailureKind.STATUS, 400), False),
        (CreateFailure(FailureKind.STATUS, 404), False),
        (CreateFailure(FailureKind.STATUS, 302), False),
        (CreateFailure(FailureKind.NETWORK), True),
        (CreateFailure(FailureKind.DEADLINE), True),
        (CreateFailure(FailureKind.UNREADABLE), True),
    ],
)
def test_a_template_is_asked_for_again_unless_the_request_is_wrong(
    failure: CreateFailure, repeated: bool
) -> None:
    """Asking twice does no harm, so whatever may pass is repeated."""
    assert is_template_retryable(failure) is repeated


def test_callbacks_are_repeated_for_at_least_a_minute() -> None:
    """The pauses grow, stay bounded, and only end once a minute and more is over."""
    elapsed_s, attempt = 0.0, 0
    while (pause := decide_pause_s(attempt + 1, elapsed_s=elapsed_s)) is not None:
        attempt += 1
        elapsed_s += pause
        assert 0 < pause <= 10
    assert 60 <= REPEATED_FOR_S <= elapsed_s < 90
    assert attempt < 20


def answered(*results: tuple[float, float, str | None], error: str | None = None) -> Any:
    """Give a gateway's answer with results of (cores, GB, error)."""
    return TemplateCreateResponse.model_validate(
        {
            "results": [
                {
                    "machine_config": {"cpu": cpu, "memory_gb": memory},
                    **({"error": failed} if failed else {}),
                }
                for cpu, memory, failed in results
            ],
            **({"error": error} if error else {}),
        }
    )


@pytest.mark.parametrize(
    ("response", "errors"),
    [
        (answered((0.25, 0.25, None), (0.5, 0.5, None)), [None, None]),
        (answered((0.5, 0.5, None), (0.25, 0.25, "no disk")), ["no disk", None]),
        (answered((0.25 + 1e-10, 0.25 - 1e-10, None), (0.5, 0.5, None)), [None, None]),
        (answered((0.25 + 1e-8, 0.25, None), (0.5, 0.5, None)), [NOT_BUILT, None]),
        (answered((0.5, 0.5, None)), [NOT_BUILT, None]),
        (answered((0.5, 0.5, None), error="no room"), ["no room", None]),
        (answered((0.5, 0.5, None), (0.25, 0.25, "no disk"), error="1 of 2"), ["no disk", None]),
        (answered((0.5, 0.5, None), (0.25, 0.25, None), error="no room"), ["no room", "no room"]),
        (answered(error="no room"), ["no room", "no room"]),
        (answered(), [NOT_BUILT, NOT_BUILT]),
    ],
)
def test_each_preset_has_the_result_of_its_size(response: Any, errors: list[str | None]) -> None:
    """Sizes match within a billionth; what has no result has the request's error, else none was built.

    An error of the whole request that no size explains is that of every size.
    """
    assert list(errors_by_preset(["micro", "small-1x"], response).values()) == errors


def test_required_presets_fail_a_deploy_and_optional_ones_warn() -> None:
    """All failures are named once each; what may be missing is a line for the log."""
    states = [
        PresetState("micro", "us", True, "no disk"),
        PresetState("micro", "eu", True, "no disk"),
        PresetState("small-1x", "us", True, None),
        PresetState("small-2x", "us", True, "not built"),
        PresetState("large-1x", "us", False, "too large"),
    ]
    assert failure_text(states) == "micro: no disk; small-2x: not built"
    assert failure_text(states[2:3] + states[4:]) == ""
    (warning,) = warnings_of(states)
    assert "large-1x" in warning
    assert "too large" in warning


def test_presets_may_have_figures_of_the_operators_own() -> None:
    """A file changes the figures it names, and only those."""
    read = read_presets('{"machines": {"micro": {"cpu": 1, "memory": 0.5}}, "defaultMachine": "x"}')
    assert read == {"micro": ("micro", 1.0, 0.5)}
    assert set(PRESETS) == set(MACHINES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"machines": []}',
        '{"machines": {"huge": {"cpu": 1, "memory": 1}}}',
        '{"machines": {"micro": 1}}',
        '{"machines": {"micro": {"cpu": 1}}}',
        '{"machines": {"micro": {"cpu": 0, "memory": 1}}}',
        '{"machines": {"micro": {"cpu": true, "memory": 1}}}',
        '{"machines": {"micro": {"cpu": "1", "memory": 1}}}',
        '{"machines": {"micro": {"cpu": NaN, "memory": 1}}}',
        '{"machines": {"micro": {"cpu": 1, "memory": 1e9}}}',
    ],
)
def test_figures_that_make_no_sense_are_refused(text: str) -> None:
    """Nobody starts with presets that were guessed from a broken file."""
    with pytest.raises(InvalidPresets):
        read_presets(text)


def test_examples_hold() -> None:
    """What the documentation shows is what happens."""
    for module in (callbacks, machines, template_results, template_states):
        assert doctest.testmod(module).failed == 0
