"""The control room: where the migration stands, whether it is well, and what was changed last."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from deployments.selectors import list_worker_groups
from deployments.template_subjects import template_settings
from deployments.template_views import count_current_templates
from flags.catalog import CATALOG, DEFAULT_GROUP, MIGRATION_ENABLED
from flags.enrollment import DIALS
from flags.ramps import LIVE
from flags.selectors import get_global_values, list_ramps
from ledger.feed import feed
from ledger.selectors import current_revision, list_audit, list_replicas
from rollout.reverting import GROUP_KEYS
from rollout.standing import standing_of, tally
from runs.staff_selectors import MAX_SEARCHED, count_recent_runs
from runs.starting import list_queue_standings
from tenants.entitlements.claims import find_outage
from webapp.admin.arrival import arrival_of
from webapp.admin.audit import HEADERS, audit_row
from webapp.admin.banners import banners
from webapp.admin.control_room import (
    RoomFacts,
    dials,
    headline,
    health,
    region_standings,
    run_share,
)
from webapp.admin.pages import page
from webapp.admin.repairs import read_repairs
from webapp.admin.tables import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest

    from flags.selectors import RampView
    from ledger.selectors import AuditEntry
    from rollout.standing import Standing

DIGEST_CHARS: Final = 16
LAST_CHANGES: Final = 10
SHOWN: Final = ("When", "Who", "What", "Key", "Change", "Undo")
MOVES_ORGANIZATIONS: Final = sorted(
    {*CATALOG, *GROUP_KEYS, "state", "plan", "hasAccess", "move-queued", "defaultGroupId"}
)
"""What is recorded under these keys can change where somebody's runs go."""
SHARE_OF: Final = timedelta(hours=1)


@require_safe
def room(request: HttpRequest) -> HttpResponse:
    """Show the control room, or the part of it that is kept fresh.

    A poll that has seen what there is is answered with nothing, so that nothing is read out again.
    """
    now = datetime.now(UTC)
    facts = _facts(now)
    context = {
        "headline": headline(facts),
        "banners": banners(facts),
        "dials": dials(facts),
        "health": health(facts),
    }
    shown = render_to_string("operators/_room_facts.html", context, request)
    digest = hashlib.sha256(shown.encode()).hexdigest()[:DIGEST_CHARS]
    if request.headers.get("HX-Request"):
        if request.GET.get("seen") == digest:
            return HttpResponse(status=204)
        return page(request, "_room.html", title="Migration", shown=shown, digest=digest)
    changes = _changes(list_audit(keys=MOVES_ORGANIZATIONS, limit=LAST_CHANGES).rows, now)
    return page(
        request, "migration.html", title="Migration", shown=shown, digest=digest, changes=changes
    )


def _changes(rows: Sequence[AuditEntry], now: datetime) -> Table:
    """Give the rows without the columns that only the audit has room for."""
    places = [HEADERS.index(header) for header in SHOWN]
    cells = (audit_row(row, now) for row in rows)
    shown = tuple(tuple(row[place] for place in places) for row in cells)
    return Table("changes", SHOWN, shown, "None.")


def standing_now() -> Standing:
    """Give the migration as it decides at this moment, from the database."""
    values = get_global_values()
    return standing_of(
        tally(values.get(DEFAULT_GROUP)),
        is_enabled=values.get(MIGRATION_ENABLED) is True,
        percentages={plan: values.get(key, 0) for plan, key in DIALS.items()},
    )


def live_ramps() -> tuple[RampView, ...]:
    """Give the ramps that are running or paused, at most one for each dial."""
    return tuple(ramp for ramp in list_ramps() if ramp.state in LIVE)


def _facts(now: datetime) -> RoomFacts:
    groups = list_worker_groups()
    recent = count_recent_runs(since=now - SHARE_OF, limit=MAX_SEARCHED)
    return RoomFacts(
        now=now,
        standing=standing_now(),
        share=run_share(recent, groups),
        regions=region_standings(groups, now, stale_ms=settings.ENV.backing_stale_ms),
        arrival=arrival_of(current_revision(), list_replicas()),
        outage=find_outage() if settings.ENV.entitlements.url else None,
        ramps=live_ramps(),
        templates=count_current_templates(),
        has_gateway=template_settings().has_gateway,
        groups=tuple(groups),
        queues={
            standing.worker_queue: standing
            for standing in list_queue_standings([group.row.master_queue for group in groups])
        },
        repairs=read_repairs(),
        hears=feed.subscribed,
    )
