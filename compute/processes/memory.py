"""Whether a process died because memory ran out. Pure."""

from __future__ import annotations

MEMORY_WORDS = ("MemoryError", "std::bad_alloc", "Cannot allocate memory")
NEAR_LIMIT = 0.95  # of the limit: who was killed this close to it ran out of memory


def is_out_of_memory(
    *, clean: bool, killed: bool, peak_rss_bytes: int, limit_bytes: int, last_words: str
) -> bool:
    """Say whether a dead process gives evidence that it reached its memory limit."""
    if clean:
        return False
    last_lines = "\n".join(last_words.splitlines()[-3:])
    said_so = any(word in last_lines for word in MEMORY_WORDS)
    return said_so or (killed and peak_rss_bytes >= limit_bytes * NEAR_LIMIT)
