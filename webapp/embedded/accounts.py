"""Who the embedded servers run as, and binaries which that account can reach.

PostgreSQL refuses to run as root. When the stack is started by root, the servers run as an
existing unprivileged account, with state in a folder of its own below `SYSTEM_FOLDER`; nobody's
permissions on anything else are touched. Started by anybody else, they run as that person.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEM_FOLDER = Path("/var/lib/crossfade")
ACCOUNT_NAMES = ("crossfade", "postgres", "nobody")  # the first that exists; no account is made


class NoAccount(Exception):
    """Root started the stack and no unprivileged account of `ACCOUNT_NAMES` exists."""


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged user."""

    uid: int
    gid: int


def server_account(*, is_root: bool) -> Account | None:
    """Give the account of the servers, or None when they run as the caller."""
    if not is_root:
        return None
    for name in ACCOUNT_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise NoAccount(
        f"no account to run the servers as; one of {', '.join(ACCOUNT_NAMES)} is needed"
    )


def private_folder(folder: Path, account: Account | None) -> Path:
    """Make a folder that only its owner, the account, can enter, and give it back."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)
    return folder


def write_private(path: Path, text: str, account: Account | None) -> None:
    """Write a file of mode 0600 that belongs to the account, whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        if account is not None:
            os.fchown(file.fileno(), account.uid, account.gid)
    fresh.replace(path)


def is_reachable(path: Path) -> bool:
    """Say whether everybody can enter every folder above the path, and read the path."""
    resolved = path.resolve()
    enter = all(folder.stat().st_mode & stat.S_IXOTH for folder in resolved.parents)
    return enter and bool(resolved.stat().st_mode & stat.S_IROTH)


def reachable_copy(source: Path, trees: Sequence[str], witness: str, cache: Path) -> Path:
    """Give the folder of these trees where everybody reaches them, else a copy below `cache`.

    `trees` are folders directly in `source`; those that do not exist are left out. They stay side
    by side, because programs find their libraries by the relative path. `witness` is the main
    program, relative to `source`: the copy is named by the hash of its bytes, so it is made once
    for each version. It appears under that name only when it is complete.
    """
    if is_reachable(source / witness):
        return source
    digest = hashlib.sha256((source / witness).read_bytes()).hexdigest()[:16]
    copy = cache / f"{trees[0]}-{digest}"
    if not copy.exists():
        fresh = cache / f"{copy.name}.new-{os.getpid()}"
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        for tree in trees:
            if (source / tree).exists():
                shutil.copytree(source / tree, fresh / tree, symlinks=True)
        _open_to_readers(fresh)
        _settle(fresh, copy)
    return copy


def _open_to_readers(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _settle(fresh: Path, copy: Path) -> None:
    try:
        fresh.rename(copy)
    except OSError:
        shutil.rmtree(fresh)
        if not copy.exists():
            raise
