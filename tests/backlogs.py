"""Many runs that wait, made at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenants.services import update_environment
from tests.factories import ORIGIN
from tests.running import change, rows_of

if TYPE_CHECKING:
    from tests.running import World

UNLIMITED = 1_000_000


def pile_up(world: World, count: int) -> None:
    """Let so many runs of one task wait: copies of one that was triggered."""
    model = world.trigger()
    columns = [
        name
        for (name,) in rows_of(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND table_name = 'runs_taskrun'"
            " ORDER BY ordinal_position"
        )
    ]
    copied = {
        "id": "'run_' || lpad(g::text, 25, '0')",
        "snapshot_id": "'snapshot_' || lpad(g::text, 25, '0')",
        "score": "t.score + g",
    }
    values = ", ".join(copied.get(name, f"t.{name}") for name in columns)
    change(
        f"WITH made AS (INSERT INTO runs_taskrun ({', '.join(columns)})"
        f" SELECT {values} FROM generate_series(1, %s) g JOIN runs_taskrun t ON t.id = %s"
        " RETURNING id, lane_id, score)"
        " INSERT INTO runs_readyentry (lane_id, score, run_id)"
        " SELECT lane_id, score, id FROM made",
        count - 1,
        model,
    )
    change("ANALYZE runs_taskrun, runs_readyentry")
    update_environment(world.environment_id, {"concurrency_limit": UNLIMITED}, **ORIGIN)
