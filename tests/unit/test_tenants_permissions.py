"""What each role may do, and which changes of memberships are refused."""

from __future__ import annotations

import doctest
from itertools import product

import pytest

from tenants import permissions
from tenants.permissions import LEAST_ROLE, Action, MembershipChange, Standing, refusal_of
from tenants.words import Role

MAY = {
    None: set(),
    Role.MEMBER: {
        Action.READ,
        Action.ACT_ON_RUNS,
        Action.STEER_QUEUES,
        Action.CHOOSE_VERSION,
        Action.CHOOSE_REGION,
    },
    Role.ADMIN: set(Action) - {Action.MANAGE_OWNERS},
    Role.OWNER: set(Action),
}
STANDINGS = [*(Standing(role) for role in MAY), Standing(None, is_staff=True)]


@pytest.mark.parametrize("role", MAY)
def test_a_role_may_do_what_the_table_says(role: Role | None) -> None:
    """Each role may do exactly its own actions; staff may do all, being no members."""
    assert {action for action in Action if Standing(role).may(action)} == MAY[role]
    assert all(Standing(role, is_staff=True).may(action) for action in Action)


def test_every_action_has_a_role() -> None:
    """No action is left undecided, and no higher role may less than a lower one."""
    assert set(LEAST_ROLE) == set(Action)
    assert MAY[Role.MEMBER] < MAY[Role.ADMIN] < MAY[Role.OWNER]


def test_everybody_may_leave() -> None:
    """Nobody is kept by their role; that an owner is the last one is asked elsewhere."""
    for role in Role:
        assert refusal_of(MembershipChange(Standing(role), True, role, None)) is None


def test_members_change_nobody() -> None:
    """A member, and somebody who is none, can add, change and remove no one, themselves included."""
    for by, is_own, old, new in product((None, Role.MEMBER), (True, False), Role, Role):
        assert refusal_of(MembershipChange(Standing(by), is_own, old, new)) is not None


def test_owners_are_made_and_unmade_by_owners() -> None:
    """An admin can make nobody an owner, themselves included, and touch no owner."""
    admin = Standing(Role.ADMIN)
    for is_own in (True, False):
        assert refusal_of(MembershipChange(admin, is_own, Role.ADMIN, Role.OWNER)) is not None
        assert refusal_of(MembershipChange(admin, is_own, None, Role.OWNER)) is not None
    for new in (Role.ADMIN, Role.MEMBER, None):
        change = MembershipChange(admin, is_own=False, old=Role.OWNER, new=new)
        assert refusal_of(change) is not None
        assert refusal_of(change._replace(by=Standing(Role.OWNER))) is None
        assert refusal_of(change._replace(by=Standing(None, is_staff=True))) is None


def test_examples_hold() -> None:
    """What the docstrings say is so."""
    assert doctest.testmod(permissions).failed == 0
