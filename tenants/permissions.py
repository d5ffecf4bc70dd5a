"""What a member may do by their role, and which changes of memberships are refused. No IO.

Staff operate the installation and may do all of it in every organization; they are no members.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from tenants.words import Role


class Action(StrEnum):
    """What somebody wants to do in an organization."""

    READ = "read"  # every page of it; no page shows a secret twice
    ACT_ON_RUNS = "act_on_runs"  # cancel, replay
    STEER_QUEUES = "steer_queues"  # pause, resume, override limits
    CHOOSE_VERSION = "choose_version"  # promote a deployed version, or roll back to one
    CHOOSE_REGION = "choose_region"  # a project's default region
    MANAGE_KEYS = "manage_keys"  # make and revoke keys of environments
    MANAGE_PROJECTS = "manage_projects"  # make projects
    MANAGE_MEMBERS = "manage_members"  # add and remove members and admins
    MANAGE_OWNERS = "manage_owners"  # make and unmake owners


LEAST_ROLE: Final[dict[Action, Role]] = {
    Action.READ: Role.MEMBER,
    Action.ACT_ON_RUNS: Role.MEMBER,
    Action.STEER_QUEUES: Role.MEMBER,
    Action.CHOOSE_VERSION: Role.MEMBER,
    Action.CHOOSE_REGION: Role.MEMBER,
    Action.MANAGE_KEYS: Role.ADMIN,
    Action.MANAGE_PROJECTS: Role.ADMIN,
    Action.MANAGE_MEMBERS: Role.ADMIN,
    Action.MANAGE_OWNERS: Role.OWNER,
}
"""The lowest role that may do it; every higher one may, too."""

_RANKS: Final[dict[str, int]] = {Role.MEMBER: 0, Role.ADMIN: 1, Role.OWNER: 2}


class Standing(NamedTuple):
    """What somebody is in an organization."""

    role: str | None  # None: no member
    is_staff: bool = False

    def may(self, action: Action) -> bool:
        """Tell whether they may do this.

        >>> Standing("member").may(Action.READ), Standing("member").may(Action.MANAGE_KEYS)
        (True, False)
        """
        if self.is_staff:
            return True
        return self.role is not None and _RANKS[self.role] >= _RANKS[LEAST_ROLE[action]]


class MembershipChange(NamedTuple):
    """Somebody's role is to become another one."""

    by: Standing  # who wants it
    is_own: bool  # whether it is their own membership
    old: str | None  # None: no member so far
    new: str | None  # None: no member any more


def refusal_of(change: MembershipChange) -> str | None:
    """Give the sentence that refuses a change; None: it may be made.

    **Rule** everybody may leave; else it takes who may manage members; owners are made and unmade
    by owners. That one owner is left is asked where the change is written, whoever makes it.
    """
    if change.is_own and change.new is None:
        return None
    if not change.by.may(Action.MANAGE_MEMBERS):
        return "Only owners and admins may change who is a member."
    if Role.OWNER in {change.old, change.new} and not change.by.may(Action.MANAGE_OWNERS):
        return "Only an owner may make somebody an owner, or change an owner's role."
    return None
