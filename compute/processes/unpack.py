"""Unpacking an artifact that somebody else made: nothing leaves its folder, nothing explodes."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, cast

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

    Only files and folders are taken: links, devices, files with holes, absolute names and names
    that climb out are refused. Files become readable for everybody and writable for nobody.
    Raises `InvalidArtifact`.
    """
    try:
        with gzip.open(archive) as plain:
            stream = cast("IO[bytes]", _Bounded(plain, max_bytes))  # a stream is only ever read
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                return _extract(tar, folder, max_members)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise InvalidArtifact(f"the artifact cannot be unpacked: {error}") from error


def _extract(tar: tarfile.TarFile, folder: Path, max_members: int) -> int:
    size = 0
    for count, member in enumerate(tar, start=1):
        if count > max_members:
            raise InvalidArtifact(f"the artifact holds more than {max_members} files")
        place = _place_of(member, folder)
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        if source is None:
            raise InvalidArtifact(f"the artifact's {member.name!r} is neither file nor folder")
        with source, place.open("wb") as target:
            shutil.copyfileobj(source, target)
        place.chmod(0o555 if member.mode & 0o100 else 0o444)
        size += member.size
    return size


def _place_of(member: tarfile.TarInfo, folder: Path) -> Path:
    """Give where a member goes, or refuse one that is no file or folder below `folder`."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\x00" in member.name:
        raise InvalidArtifact(f"the artifact's {member.name!r} leads out of it")
    if not (member.isfile() or member.isdir()):
        raise InvalidArtifact(f"the artifact's {member.name!r} is neither file nor folder")
    if member.issparse():  # its holes are in no stream, so no bound would see them
        raise InvalidArtifact(f"the artifact's {member.name!r} is a file with holes")
    return folder / name
