"""The demo world: complete at once, the same at every further start."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command

from deployments.selectors import find_group_by_token, list_worker_groups
from flags.callers import find_caller
from flags.selectors import get_global_value
from ledger.selectors import current_revision
from tenants.crypto import Undecryptable
from tenants.selectors import find_environment_key, find_person_by_token, get_project_for_person
from tests.factories import NOW, make_tenant
from webapp.demo import make_demo_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def change_env(settings: Any) -> Callable[..., None]:
    """Give a function that changes values of the environment for this test."""

    def change(**values: object) -> None:
        settings.ENV = replace(settings.ENV, **values)

    return change


def seed(path: Path) -> dict[str, Any]:
    """Run the command and give what it wrote."""
    call_command("seed_demo", out=path, verbosity=0)
    world: dict[str, Any] = json.loads(path.read_text())
    return world


def test_the_demo_world_is_complete(tmp_path: Path) -> None:
    """Every secret of the file works for what it is named after."""
    world = seed(tmp_path / "demo.json")
    assert stat.S_IMODE((tmp_path / "demo.json").stat().st_mode) == 0o600
    caller, dev = (
        find_caller(world["TRIGGER_SECRET_KEY"]),
        find_caller(world["TRIGGER_DEV_SECRET_KEY"]),
    )
    assert caller is not None
    assert dev is not None
    assert (caller.organization.slug, caller.organization.plan) == ("acme", "paid")
    assert (caller.environment.slug, dev.environment.slug) == ("prod", "dev")
    birch = find_caller(world["deploy_keys"][1])
    assert birch is not None
    assert (birch.organization.slug, birch.organization.plan) == ("birch", "free")
    admin = find_person_by_token(world["CROSSFADE_ADMIN_TOKEN"], now=NOW)
    member = find_person_by_token(world["CROSSFADE_MEMBER_TOKEN"], now=NOW)
    assert admin is not None
    assert member is not None
    assert (admin.is_staff, member.is_staff) == (True, False)
    assert get_project_for_person(caller.project.ref, member).ref == caller.project.ref
    assert authenticate(username=world["CROSSFADE_USER"], password=world["CROSSFADE_PASSWORD"])
    password = world["CROSSFADE_MEMBER_PASSWORD"]
    assert authenticate(username=world["CROSSFADE_MEMBER_USER"], password=password)


def test_the_demo_world_has_its_worker_groups(tmp_path: Path) -> None:
    """Two container groups and a MicroVM group; us-east-1 is the default of everyone."""
    world = seed(tmp_path / "demo.json")
    groups = {
        view.row.name: (view.row.workload_type, view.row.region) for view in list_worker_groups()
    }
    assert groups == {
        "us-east-1": ("CONTAINER", "us-east-1"),
        "us-east-1-next": ("MICROVM", "us-east-1"),
        "eu-central-1": ("CONTAINER", "eu-central-1"),
    }
    served = [find_group_by_token(token) for token in world["worker_tokens"]]
    assert [group.name for group in served if group] == ["us-east-1", "eu-central-1"]
    assert served[0] is not None
    assert get_global_value("defaultWorkerInstanceGroupId") == served[0].id


def test_seeding_again_changes_nothing(tmp_path: Path) -> None:
    """With the file at hand a second run writes nothing."""
    first = seed(tmp_path / "demo.json")
    before = current_revision()
    assert seed(tmp_path / "demo.json") == first
    assert current_revision() == before


def test_a_lost_file_replaces_what_can_be_had_only_once(tmp_path: Path) -> None:
    """Tokens are made anew and the old ones refused; keys are the same as before."""
    first = seed(tmp_path / "demo.json")
    second = seed(tmp_path / "other.json")
    assert second["TRIGGER_SECRET_KEY"] == first["TRIGGER_SECRET_KEY"]
    assert second["CROSSFADE_ADMIN_TOKEN"] != first["CROSSFADE_ADMIN_TOKEN"]
    assert find_person_by_token(first["CROSSFADE_ADMIN_TOKEN"], now=datetime.now(UTC)) is None
    assert find_group_by_token(first["worker_tokens"][0]) is None
    assert find_group_by_token(second["worker_tokens"][0]) is not None


def test_a_damaged_file_is_said_to_be(tmp_path: Path) -> None:
    """Nothing is replaced because a file cannot be read."""
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(CommandError, match="damaged"):
        seed(tmp_path / "demo.json")


def test_the_password_can_be_given() -> None:
    """The staff user's password follows the one that is given."""
    first = make_demo_world({}, password="one", now=NOW)
    second = make_demo_world(first, password="two", now=NOW)
    assert authenticate(username=first["CROSSFADE_USER"], password="one") is None
    assert authenticate(username=second["CROSSFADE_USER"], password="two") is not None


def test_encryption_keys_can_be_rotated(change_env: Callable[..., None]) -> None:
    """After the command the old encryption key is not needed any more."""
    tenant = make_tenant()
    env = tenant.environments["prod"].id
    old, new = settings.ENV.encryption_keys[0], Fernet.generate_key().decode()
    change_env(encryption_keys=(new, old))
    call_command("rotate_encryption_keys", verbosity=0)
    change_env(encryption_keys=(new,))
    assert find_environment_key(env) == tenant.keys["prod"]
    change_env(encryption_keys=(old,))
    with pytest.raises(Undecryptable):
        find_environment_key(env)
    with pytest.raises(CommandError, match="opens"):
        call_command("rotate_encryption_keys", verbosity=0)
