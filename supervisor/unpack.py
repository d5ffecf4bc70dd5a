"""Unpacking an artifact that somebody else made: nothing leaves its folder, nothing explodes."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pathlib import Path

MAX_UNPACKED_BYTES = 1024**3
MAX_MEMBERS = 50_000


class InvalidArtifact(Exception):
    """An artifact is not what it should be; the message says how."""


class _Bounded:
    """A stream that refuses to give more than `most` bytes: headers count as well as files."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        self._stream = stream
        self._left = most

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise InvalidArtifact("the artifact unpacks to more than its limit")
        return data


def unpack_artifact(
    archive: Path,
    folder: Path,
    *,
    max_bytes: int = MAX_UNPACKED_BYTES,
    max_members: int = MAX_MEMBERS,
) -> int:
    """Unpack a gzipped tar into an empty folder and give its size in bytes.

    Absolute names, names that climb out, links that lead out and devices are refused. Files become
    readable for everybody and writable for nobody. Raises `InvalidArtifact`.
    """
    try:
        with gzip.open(archive) as plain:
            stream = cast("IO[bytes]", _Bounded(plain, max_bytes))  # a stream is only ever read
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                return _extract(tar, folder, max_members)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidArtifact(f"the artifact cannot be unpacked: {error}") from error


def _extract(tar: tarfile.TarFile, folder: Path, max_members: int) -> int:
    size = 0
    for count, member in enumerate(tar, start=1):
        if count > max_members:
            raise InvalidArtifact(f"the artifact holds more than {max_members} files")
        safe = tarfile.data_filter(member, str(folder))
        mode = 0o755 if member.isdir() or (member.mode or 0) & 0o100 else 0o644
        tar.extract(safe.replace(mode=mode, deep=False), folder, set_attrs=False, filter="data")
        if safe.isfile():
            (folder / safe.name).chmod(mode & 0o555)
        size += safe.size
    return size
