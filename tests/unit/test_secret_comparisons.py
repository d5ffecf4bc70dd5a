"""Secrets are compared in constant time, or not at all: they are looked up by their hash."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("webapp", "rollout", "runs", "deployments", "flags", "tenants", "ledger", "supervisor", "compute", "crossfade")  # fmt: skip
SECRET = re.compile(r"(^|_)(secret|token|password|signature|api_key|sha256)$")
# Where each credential is checked; `compare_digest` has to be there.
CHECKED = (
    "flags/callers.py",
    "tenants/selectors.py",
    "deployments/selectors.py",
    "webapp/api/auth.py",
    "supervisor/tokens.py",
    "compute/gateway/requests.py",
)


def comparisons(source: str) -> Iterator[str]:
    """Give what compares something that is named like a secret with == or !=."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(
            isinstance(one, ast.Eq | ast.NotEq) for one in node.ops
        ):
            sides = [node.left, *node.comparators]
            if any(map(_is_secret, sides)) and not any(map(_is_written_out, sides)):
                yield ast.unparse(node)


def _is_secret(side: ast.expr) -> bool:
    name = getattr(side, "attr", None) or getattr(side, "id", None) or ""
    return bool(SECRET.search(name))


def _is_written_out(side: ast.expr) -> bool:
    return isinstance(side, ast.Constant)


def test_no_secret_is_compared_with_an_operator() -> None:
    """Not in any module that runs: the time of such a comparison tells how much of it was right."""
    found = {
        f"{path.relative_to(ROOT)}: {text}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for text in comparisons(path.read_text("utf-8"))
    }
    assert found == set()


@pytest.mark.parametrize("file", CHECKED)
def test_where_credentials_are_checked_it_is_in_constant_time(file: str) -> None:
    """Each place where a credential is recognised compares it with `compare_digest`."""
    assert "compare_digest(" in (ROOT / file).read_text("utf-8")


def test_such_a_comparison_is_seen() -> None:
    """By its names, whatever they belong to; a comparison with a constant is none."""
    assert list(comparisons("given.token == expected")) == ["given.token == expected"]
    assert list(comparisons("a != managed_secret")) == ["a != managed_secret"]
    assert list(comparisons("token == ''; kind == other")) == []
