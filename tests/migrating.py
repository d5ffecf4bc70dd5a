"""A region with containers and a MicroVM backing, and an organization that may be migrated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deployments.region_snapshot import LIVENESS, REGIONS
from deployments.worker_groups import record_heartbeat
from flags.catalog import FREE_PERCENTAGE, MIGRATION_ENABLED, PAID_PERCENTAGE
from flags.services import set_global_flags, set_organization_flags
from flags.snapshot import GLOBAL_FLAGS
from tests.factories import ORIGIN, make_worker_group
from tests.running import REGION, World, change, make_world, run_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runs.selectors import RunView

EVERYONE: Mapping[str, object] = {
    MIGRATION_ENABLED: True,
    FREE_PERCENTAGE: 100,
    PAID_PERCENTAGE: 100,
}


@dataclass(frozen=True, kw_only=True)
class Migrating:
    """A world whose region has a backing."""

    world: World
    backing_id: str
    backing_queue: str
    backing_token: str

    @property
    def organization_id(self) -> str:
        """The organization's id."""
        return self.world.tenant.organization.id

    def beat(self) -> None:
        """Let the backing's supervisor be heard of now."""
        record_heartbeat(group_id=self.backing_id, name="s-1", now=datetime.now(UTC))
        LIVENESS.reload()

    def fall_silent(self, *, for_s: float) -> None:
        """Let the backing's supervisor have been heard of so long ago, and never since."""
        change(
            "UPDATE deployments_workerinstance SET last_heartbeat_at = now() - %s * interval '1 s'"
            " WHERE group_id = %s",
            for_s,
            self.backing_id,
        )

    @property
    def as_backing(self) -> World:
        """The same environment, as the backing's supervisor sees it."""
        return replace(
            self.world, queue=self.backing_queue, group_id=self.backing_id, token=self.backing_token
        )

    def trigger(self, **call: Any) -> RunView:
        """Trigger a run and give it as it was stored."""
        return run_of(self.world.trigger(**call))

    def override(self, *, value: bool | None) -> None:
        """Set the organization's own switch."""
        set_organization_flags(self.organization_id, {MIGRATION_ENABLED: value}, **ORIGIN)

    def set_flags(self, flags: Mapping[str, object]) -> None:
        """Set values for everyone, in effect when this returns."""
        set_global_flags(flags, **ORIGIN)
        GLOBAL_FLAGS.reload()


def make_migrating(
    *, slug: str = "prod", plan: str | None = "free", backing: str | None = None
) -> Migrating:
    """Make the world, its backing live and nobody enrolled."""
    world = make_world(slug=slug, plan=plan)
    queue = backing or f"{world.queue if slug != 'dev' else 'dev'}-next"
    group = make_worker_group(
        name=queue, fields={"workload_type": "MICROVM", "region": REGION, "priority": 1}
    )
    REGIONS.reload()
    made = Migrating(
        world=world, backing_id=group.id, backing_queue=queue, backing_token=group.token
    )
    made.beat()
    return made
