"""Which files of a folder are left out of an artifact. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

IGNORE_FILE = ".crossfadeignore"

# Never wanted in a deployment: history, caches, environments, and files that hold secrets.
BUILT_IN = (
    ".git/",
    ".hg/",
    ".svn/",
    "__pycache__/",
    "*.py[co]",
    ".venv/",
    "venv/",
    "node_modules/",
    ".env",
    ".env.*",
    ".envrc",
    "*.egg-info/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".tox/",
    ".idea/",
    ".vscode/",
    ".DS_Store",
    IGNORE_FILE,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern: `!` keeps what an earlier one left out, a final `/` means folders only."""

    pattern: str
    keeps: bool
    folders_only: bool
    from_top: bool

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Say whether the rule is about this path, relative to the top with `/`."""
        if self.folders_only and not is_folder:
            return False
        if self.from_top:
            return fnmatchcase(path, self.pattern)
        return fnmatchcase(path.rsplit("/", 1)[-1], self.pattern)


def rules_for(text: str) -> tuple[Rule, ...]:
    """Give the built-in rules and those of an ignore file: a pattern a line, `#` comments.

    A pattern without a `/` (but at its end) matches a name at any depth, one with it from the top.
    """
    lines = (line.strip() for line in text.splitlines())
    own = (line for line in lines if line and not line.startswith("#"))
    return tuple(_rule(line) for line in (*BUILT_IN, *own))


def is_ignored(rules: tuple[Rule, ...], path: str, *, is_folder: bool) -> bool:
    """Say whether a path is left out: the last rule about it decides."""
    about = [rule for rule in rules if rule.matches(path, is_folder=is_folder)]
    return bool(about) and not about[-1].keeps


def _rule(line: str) -> Rule:
    keeps = line.startswith("!")
    pattern = line[1:] if keeps else line
    bare = pattern.rstrip("/")
    return Rule(
        pattern=bare.lstrip("/"),
        keeps=keeps,
        folders_only=pattern.endswith("/"),
        from_top="/" in bare,
    )
