"""Become another program that does not outlive its parent. Run as a script, never imported.

    python -I -S launch.py SIGNAL PARENT UID GID PROGRAM [ARGUMENT...]

The kernel sends SIGNAL (a number) to this process when the thread that started it ends. PARENT is
the process id of the starter, so that a starter which died meanwhile is noticed. UID and GID are
what the program runs as; -1 keeps the caller's. The setting has to come after the change of user,
which clears it, and has to survive into the program, which `exec` grants. A Python callback
between fork and exec would do the same, but is unsafe in a process with threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Drop to the user, tie this process to its parent, and become the program."""
    death_signal, parent, uid, gid = (int(text) for text in arguments[:4])
    program = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "the parent's death cannot be watched")
    if os.getppid() != parent:
        raise SystemExit("the parent is gone already")
    os.execv(program[0], program)  # noqa: S606 - an argument list, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
