"""Rules of the compute path that hold for whatever a gateway answers."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import unquote, urlsplit

from hypothesis import assume, given
from hypothesis import strategies as st

from compute.client import instance_url
from compute.contracts import Instance
from compute.retry import (
    CreateFailure,
    CreateRetry,
    FailureKind,
    decide_next_try,
    is_retryable,
    is_unknown,
)
from supervisor.workloads.inventory import Workloads, examine

NOW = datetime(2026, 1, 2, tzinfo=UTC)
STATUSES = st.integers(300, 599).map(lambda number: CreateFailure(FailureKind.STATUS, number))
OTHERS = st.sampled_from([kind for kind in FailureKind if kind is not FailureKind.STATUS])
FAILURES = st.one_of(STATUSES, OTHERS.map(CreateFailure))
NAMES = st.sampled_from(["a", "b", "c", "d"])


def tries(failures: list[CreateFailure], policy: CreateRetry) -> list[tuple[str, CreateFailure]]:
    """Give the creates that are made, with how each fails."""
    made, name, attempt = [], "runner-x", 1
    for failure in failures:
        made.append((name, failure))
        following = decide_next_try(
            failure, policy, base="runner-x", name=name, attempt=attempt, elapsed_ms=0
        )
        if following is None:
            break
        name, attempt = following.name, attempt + 1
    return made


@given(st.lists(FAILURES, min_size=1, max_size=12), st.integers(1, 10))
def test_there_are_never_more_creates_than_attempts(
    failures: list[CreateFailure], most: int
) -> None:
    """Every series ends, at the latest with the last attempt."""
    assert len(tries(failures, CreateRetry(max_attempts=most))) <= most


@given(st.lists(FAILURES, min_size=1, max_size=12))
def test_there_is_never_a_second_name_beside_an_unknown_one(failures: list[CreateFailure]) -> None:
    """After a create that may have happened only its own name is tried, until it is refused."""
    made = tries(failures, CreateRetry(max_attempts=10))
    for (name, failure), (after, _) in pairwise(made):
        assert is_retryable(failure)
        assert (after == name) == is_unknown(failure)


@given(st.lists(FAILURES, min_size=1, max_size=12))
def test_surely_failed_name_is_never_used_again(failures: list[CreateFailure]) -> None:
    """A gateway may keep the name of a create that failed for a while."""
    made = tries(failures, CreateRetry(max_attempts=10))
    refused = [name for name, failure in made if not is_unknown(failure)]
    assert len(refused) == len(set(refused))


@given(st.text(min_size=1), st.sampled_from(["", "/", "/base", "/base/", "/a%20b/"]))
def test_name_stays_one_part_of_the_path(name: str, path: str) -> None:
    """Whatever a name holds, it is the last part of the address and comes back unchanged."""
    assume(name not in {".", ".."} and name.isprintable())
    parts = urlsplit(instance_url(f"http://gateway:1{path}", name))
    assert (parts.netloc, parts.query, parts.fragment) == ("gateway:1", "", "")
    assert parts.path.startswith(f"{path.rstrip('/')}/api/instances/")
    assert unquote(parts.path.rpartition("/")[2]) == name


@st.composite
def inventories(draw: st.DrawFn) -> tuple[list[Instance], Workloads]:
    """Give a list and what a supervisor knows, in any relation."""
    found: dict[str, dict[str, Any]] = draw(
        st.dictionaries(
            NAMES,
            st.fixed_dictionaries(
                {
                    "status": st.sampled_from(["running", "exited"]),
                    "metadata": st.sampled_from([{}, {"supervisor": "me"}, {"supervisor": "you"}]),
                }
            ),
        )
    )
    lists = [
        Instance(id=name, name=name, image="i", createdAt=NOW, **fields)
        for name, fields in found.items()
    ]
    known = draw(st.dictionaries(NAMES, st.booleans()))
    protected = draw(st.sets(NAMES)) - known.keys()
    overdue = draw(st.sets(st.sampled_from(sorted(known)))) if known else set()
    return lists, Workloads(supervisor="me", known=known, protected=protected, overdue=overdue)


@given(inventories())
def test_list_ends_only_what_is_over_or_absent(given_: tuple[list[Instance], Workloads]) -> None:
    """A workload that is listed as running is never taken for ended, nor one that is unknown."""
    lists, known = given_
    findings = examine(lists, known)
    running = {one.name for one in lists if one.status == "running"}
    ended = {one.name for one in findings.exited}
    assert ended <= known.known.keys() - running
    assert not ended & set(findings.missing)


@given(inventories())
def test_nothing_foreign_or_fresh_is_deleted(given_: tuple[list[Instance], Workloads]) -> None:
    """Only instances with the supervisor's own name go, and none that it is making."""
    lists, known = given_
    mine = {one.name for one in lists if (one.metadata or {}).get("supervisor") == "me"}
    surplus = set(examine(lists, known).surplus)
    assert surplus <= mine - set(known.protected)
    healthy = {n for n in known.known if n not in known.overdue}
    assert not surplus & {one.name for one in lists if one.status == "running"} & healthy
