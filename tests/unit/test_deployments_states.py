"""The life of a deployment."""

from __future__ import annotations

import itertools

import pytest

from deployments.deployment_states import (
    FINAL,
    TRANSITIONS,
    DeploymentEvent,
    DeploymentState,
    IllegalMove,
    next_state,
)
from deployments.models.versions import Deployment

PRODUCT = list(itertools.product(DeploymentState, DeploymentEvent))
WAY = ["PENDING", "INSTALLING", "BUILDING", "DEPLOYING", "DEPLOYED"]


@pytest.mark.parametrize(("state", "event"), PRODUCT)
def test_every_pair_moves_by_the_table_or_is_refused(
    state: DeploymentState, event: DeploymentEvent
) -> None:
    """Each state and event leads where the table says, and anywhere else nothing leads."""
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
        return
    with pytest.raises(IllegalMove, match=state.value) as refused:
        next_state(state, event)
    assert (refused.value.state, refused.value.event) == (state, event)


def test_final_states_are_exactly_those_nothing_leaves() -> None:
    """A final state has no way out, and every other state has one."""
    assert set(DeploymentState) - {state for state, _ in TRANSITIONS} == FINAL


def test_the_way_to_deployed_is_the_announced_one() -> None:
    """Installing, building, registering and finalizing lead step by step to DEPLOYED."""
    steps = [
        DeploymentEvent.INSTALL,
        DeploymentEvent.BUILD,
        DeploymentEvent.REGISTER,
        DeploymentEvent.FINALIZE,
    ]
    state = DeploymentState.PENDING
    passed = [state.value]
    for event in steps:
        state = next_state(state, event)
        passed.append(state.value)
    assert passed == WAY


@pytest.mark.parametrize("state", sorted(set(DeploymentState) - FINAL))
@pytest.mark.parametrize(
    ("event", "end"),
    [
        (DeploymentEvent.FAIL, DeploymentState.FAILED),
        (DeploymentEvent.CANCEL, DeploymentState.CANCELED),
        (DeploymentEvent.TIME_OUT, DeploymentState.TIMED_OUT),
    ],
)
def test_an_unfinished_deployment_may_end_at_any_time(
    state: DeploymentState, event: DeploymentEvent, end: DeploymentState
) -> None:
    """Whatever is not final can fail, be canceled and time out."""
    assert next_state(state, event) is end


def test_the_database_lists_the_same_states() -> None:
    """The constraint on the column and the enum name the same states."""
    (constraint,) = (
        c for c in Deployment._meta.constraints if c.name == "deployments_deployment_status_known"
    )
    (_, listed) = constraint.condition.children[0]  # type: ignore[attr-defined]
    assert set(listed) == {state.value for state in DeploymentState}
