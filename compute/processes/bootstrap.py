"""The first lines that run inside a workload's process, before any task code.

Its text is handed to `python -I -c`, so it imports nothing but the standard library, and nothing
imports it. The plan is one JSON object in the first argument:
`{parent, limits: {RLIMIT_...: bytes or count}, nice, first, last, module}`; `first` and `last` are
folders put before and after the interpreter's own on the module path. Without a module the process
does nothing until it is ended.
"""

import ctypes
import json
import os
import resource
import runpy
import signal
import sys
from typing import Any, Never

PR_SET_PDEATHSIG = 1


def bind_to_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies, also if it just did."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def limit(limits: dict[str, int]) -> None:
    """Set the limits, soft and hard; they hold for everything this process starts."""
    for name, most in limits.items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))


def idle() -> Never:
    """Wait for the signal that ends this process."""
    while True:
        signal.pause()


def main(plan: dict[str, Any]) -> None:
    """Become the runner."""
    bind_to_parent(plan["parent"])
    limit(plan["limits"])
    os.nice(plan["nice"])
    if plan["module"] is None:
        idle()
    sys.path[:] = [*plan["first"], *sys.path, *plan["last"]]
    sys.argv = [plan["module"]]
    runpy.run_module(plan["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
