"""The demo world of the embedded stack: two organizations, three worker groups, two people.

What exists is left as it is, so that what an operator changed survives the next start. Only secrets
that nobody has any more are replaced.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from deployments.selectors import find_group_by_queue, find_group_by_token
from deployments.worker_groups import (
    GroupFields,
    create_worker_group,
    rotate_worker_group_token,
)
from tenants.crypto import Undecryptable
from tenants.keys import (
    create_environment_key,
    create_personal_access_token,
    revoke_personal_access_token,
)
from tenants.origin import Origin
from tenants.selectors import (
    OrganizationDetail,
    find_environment_key,
    find_organization_id,
    find_person_by_token,
    find_user_id,
    get_organization,
    list_token_ids,
)
from tenants.services import create_organization, create_user, set_membership, set_password
from tenants.words import PlanSource, Role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

ADMIN_EMAIL: Final = "admin@crossfade.example"
MEMBER_EMAIL: Final = "member@crossfade.example"
TOKEN_NAME: Final = "demo"  # noqa: S105  the name of a token
ORIGIN: Final = Origin(actor="system:seed_demo", source="command", reason="demo world")


class DemoGroup(NamedTuple):
    """A worker group of the demo world."""

    name: str
    fields: GroupFields
    is_default: bool = False


GROUPS: Final = (
    DemoGroup(
        "us-east-1",
        GroupFields(
            workload_type="CONTAINER",
            region="us-east-1",
            description="N. Virginia, USA",
            location="usa",
        ),
        is_default=True,
    ),
    DemoGroup(
        "us-east-1-next",
        GroupFields(
            workload_type="MICROVM",
            region="us-east-1",
            description="N. Virginia, USA",
            location="usa",
        ),
    ),
    DemoGroup(
        "eu-central-1",
        GroupFields(
            workload_type="CONTAINER",
            region="eu-central-1",
            description="Frankfurt, Germany",
            location="europe",
        ),
    ),
)
CONTAINER_GROUPS: Final = ("us-east-1", "eu-central-1")
COMPUTE_GROUPS: Final = ("us-east-1-next",)


def make_demo_world(
    kept: Mapping[str, Any], *, password: str | None, now: datetime
) -> dict[str, Any]:
    """Make what is missing and give all secrets of the demo world.

    `kept` is what an earlier call gave; with nothing kept, tokens are replaced. `password` is the
    staff user's, by default the kept one.
    """
    password = password or kept.get("CROSSFADE_PASSWORD") or secrets.token_urlsafe(18)
    admin = _ensure_user(ADMIN_EMAIL, "Admin", password, is_staff=True, now=now)
    kept_password = kept.get("CROSSFADE_MEMBER_PASSWORD")
    member_password = kept_password or secrets.token_urlsafe(18)
    new_password = None if kept_password else member_password  # hashing one takes its time
    member = _ensure_user(MEMBER_EMAIL, "Member", new_password, is_staff=False, now=now)
    groups = _ensure_groups(kept.get("group_tokens", {}), now)
    acme, is_new = _ensure_organization("acme", "paid", now)
    birch, _ = _ensure_organization("birch", "free", now)
    if is_new:
        organization_id = acme.organization.id
        set_membership(
            user_id=member, organization_id=organization_id, role=Role.MEMBER, now=now, **ORIGIN
        )
    production = _ensure_key(acme, "prod", now)
    return {
        "TRIGGER_SECRET_KEY": production,
        "TRIGGER_DEV_SECRET_KEY": _ensure_key(acme, "dev", now),
        "CROSSFADE_ADMIN_TOKEN": _ensure_token(admin, kept.get("CROSSFADE_ADMIN_TOKEN"), now),
        "CROSSFADE_MEMBER_TOKEN": _ensure_token(member, kept.get("CROSSFADE_MEMBER_TOKEN"), now),
        "CROSSFADE_USER": ADMIN_EMAIL,
        "CROSSFADE_PASSWORD": password,
        "CROSSFADE_MEMBER_USER": MEMBER_EMAIL,
        "CROSSFADE_MEMBER_PASSWORD": member_password,
        "deploy_keys": [production, _ensure_key(birch, "prod", now)],
        "group_tokens": groups,
        "worker_tokens": [groups[name] for name in CONTAINER_GROUPS],
        "compute_worker_tokens": [groups[name] for name in COMPUTE_GROUPS],
    }


def _ensure_user(
    email: str, name: str, password: str | None, *, is_staff: bool, now: datetime
) -> str:
    user_id = find_user_id(email)
    if user_id is None:
        return create_user(
            email=email, password=password, name=name, is_staff=is_staff, now=now, **ORIGIN
        )
    if password is not None:
        set_password(user_id, password, **ORIGIN)
    return user_id


def _ensure_organization(slug: str, plan: str, now: datetime) -> tuple[OrganizationDetail, bool]:
    organization_id = find_organization_id(slug)
    if organization_id is not None:
        return get_organization(organization_id), False
    made = create_organization(
        title=slug, plan=plan, plan_source=PlanSource.SYSTEM, now=now, **ORIGIN
    )
    return get_organization(made.organization.id), True


def _ensure_key(detail: OrganizationDetail, slug: str, now: datetime) -> str:
    """Give the key of the organization's first environment of this slug."""
    environment_id = next(row.id for row in detail.environments if row.slug == slug)
    try:
        key = find_environment_key(environment_id)
    except Undecryptable:  # the encryption keys were replaced: nobody can have this key any more
        key = None
    return key or create_environment_key(environment_id, now=now, **ORIGIN).plaintext


def _ensure_token(user_id: str, kept: str | None, now: datetime) -> str:
    person = None if kept is None else find_person_by_token(kept, now=now)
    if kept is not None and person is not None and person.id == user_id:
        return kept
    for token_id in list_token_ids(user_id, name=TOKEN_NAME):
        revoke_personal_access_token(token_id, now=now, **ORIGIN)
    made = create_personal_access_token(user_id=user_id, name=TOKEN_NAME, now=now, **ORIGIN)
    return made.plaintext


def _ensure_groups(kept: Mapping[str, str], now: datetime) -> dict[str, str]:
    return {group.name: _ensure_group(group, kept.get(group.name), now) for group in GROUPS}


def _ensure_group(group: DemoGroup, kept: str | None, now: datetime) -> str:
    """Give the token of a group, made now if it has to be."""
    found = find_group_by_queue(group.name)
    if found is None:
        made = create_worker_group(
            name=group.name,
            fields=group.fields,
            make_default=group.is_default,
            now=now,
            **ORIGIN,
        )
        return made.token
    if kept is not None and find_group_by_token(kept) == found:
        return kept
    return rotate_worker_group_token(found.id, now=now, **ORIGIN).token
