"""When each environment key was last used, without a write per request.

A process notes in memory which keys opened a request, and stores them once in a while. What was
noted since is lost with a process that dies: the answer may be of a minute before.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tenants.models import EnvironmentKey


class KeyUses:
    """The keys that were used since they were stored the last time."""

    def __init__(self) -> None:
        """Begin with none."""
        self._key_ids: set[str] = set()

    def note(self, key_id: str) -> None:
        """Note a use. Safe in any thread, and no lock: adding to a set is one step."""
        self._key_ids.add(key_id)

    def store(self, *, now: datetime) -> int:
        """Store the noted uses; give of how many keys. What cannot be stored stays noted."""
        taken, self._key_ids = self._key_ids, set()
        key_ids = list(taken)
        if not key_ids:
            return 0
        try:
            return EnvironmentKey.objects.filter(id__in=key_ids).update(last_used_at=now)
        except Exception:
            self._key_ids.update(key_ids)
            raise


KEY_USES = KeyUses()
"""Those of this process."""

EVERY = timedelta(seconds=30)


def store_key_uses() -> int:
    """Store what this process noted; give of how many keys."""
    return KEY_USES.store(now=datetime.now(UTC))
