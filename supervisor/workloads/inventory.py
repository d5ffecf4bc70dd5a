"""What a list of the gateway's instances says about the workloads of one supervisor. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compute.processes.values import Exited
from supervisor.runner_env import OWNER

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from compute.contracts import Instance

SIGNALS = frozenset(int(number) for number in signal.Signals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workloads:
    """What the supervisor knows of its instances."""

    supervisor: str  # its instance name
    known: Mapping[str, bool]  # created before the list was asked for; True: missed once already
    protected: Collection[str]  # being created, or created since
    overdue: Collection[str]  # of `known`: had time enough to end by themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What follows from a list."""

    exited: tuple[Exited, ...]  # of `known`
    missing: tuple[str, ...]  # of `known`: not listed for the first time
    surplus: tuple[str, ...]  # the supervisor's, and nobody needs them any more


def examine(listed: Sequence[Instance], given: Workloads) -> Findings:
    """Compare what is listed with what is known.

    **Rule** An instance has ended when it is listed as exited, or is missing from two lists in a
    row. An instance that bears the supervisor's name is surplus when it has exited, when it is
    overdue, and when it is neither known nor protected: an earlier life of this supervisor left
    it, or a create whose answer was lost.
    """
    by_name = {instance.name: instance for instance in listed}
    ended = [exit_of(by_name[n]) for n in given.known if n in by_name and is_over(by_name[n])]
    absent = [name for name in given.known if name not in by_name]
    vanished = [gone(name) for name in absent if given.known[name]]
    return Findings(
        exited=(*ended, *vanished),
        missing=tuple(name for name in absent if not given.known[name]),
        surplus=tuple(
            instance.name
            for instance in listed
            if (instance.metadata or {}).get(OWNER) == given.supervisor
            and instance.name not in given.protected
            and (
                is_over(instance)
                or instance.name not in given.known
                or instance.name in given.overdue
            )
        ),
    )


def is_over(instance: Instance) -> bool:
    """Say whether an instance has ended."""
    return instance.status == "exited"


def exit_of(instance: Instance) -> Exited:
    """Give how a listed instance ended."""
    number = instance.exitSignal if instance.exitSignal in SIGNALS else None
    return Exited(
        name=instance.name,
        exit_code=None if number is not None else instance.exitCode,
        signal=number,
        out_of_memory=instance.outOfMemory is True,
        last_words=instance.lastWords or "",
    )


def gone(name: str) -> Exited:
    """Give the end of an instance of which nothing more is known."""
    return Exited(name=name, exit_code=None, signal=None, out_of_memory=False, last_words="")
