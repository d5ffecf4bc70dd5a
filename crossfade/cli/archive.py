"""The artifact: a tar.gz that depends on nothing but the files' names and content."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossfade.cli.console import CommandFailed
from crossfade.cli.source import unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crossfade.cli.source import SourceFile

LARGEST_BYTES = 200 * 1024 * 1024
MOST_FILES = 50_000  # what runs unpack


@dataclass(frozen=True, slots=True)
class Archive:
    """`data` is what is uploaded; `content_hash` is that of the files, whatever the compression."""

    data: bytes
    digest: str  # sha256:<hex> of `data`
    content_hash: str


def build_archive(files: Sequence[SourceFile]) -> Archive:
    """Pack files: sorted, without times, owners or permissions but the executable bit.

    **Raises** CommandFailed when it is more than the platform takes, naming the largest files, and
    for one that cannot be read.
    """
    try:
        return _packed(files)
    except OSError as error:
        raise unreadable(error) from error


def _packed(files: Sequence[SourceFile]) -> Archive:
    if len(files) > MOST_FILES:
        raise CommandFailed(
            f"these are {len(files)} files, at most {MOST_FILES} are taken; "
            "leave some out with .crossfadeignore"
        )
    total = sum(item.path.stat().st_size for item in files)
    if total > 4 * LARGEST_BYTES:
        raise _too_large(files, total)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item in sorted(files):
            _add(tar, item)
    content = plain.getvalue()
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=6, mtime=0) as out:
        out.write(content)
    data = packed.getvalue()
    if len(data) > LARGEST_BYTES:
        raise _too_large(files, len(data))
    return Archive(
        data=data,
        digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
        content_hash=hashlib.sha256(content).hexdigest(),
    )


def unpack_archive(archive: Archive, folder: Path) -> None:
    """Unpack into an empty folder, as a workload will see it."""
    with tarfile.open(fileobj=io.BytesIO(archive.data), mode="r:gz") as tar:
        # Python before 3.11.4 knows no filters; this archive was made a moment ago, of files only.
        if hasattr(tarfile, "data_filter"):
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(folder)  # noqa: S202


def _add(tar: tarfile.TarFile, item: SourceFile) -> None:
    data = item.path.read_bytes()
    info = tarfile.TarInfo(item.name)
    info.size = len(data)
    info.mode = 0o755 if item.path.stat().st_mode & 0o100 else 0o644
    tar.addfile(info, io.BytesIO(data))


def _too_large(files: Sequence[SourceFile], size: int) -> CommandFailed:
    largest = sorted(files, key=lambda item: item.path.stat().st_size, reverse=True)[:3]
    named = ", ".join(f"{i.name} ({i.path.stat().st_size / 1_048_576:.0f} MB)" for i in largest)
    return CommandFailed(
        f"the files are {size / 1_048_576:.0f} MB, at most {LARGEST_BYTES // 1_048_576} MB packed "
        f"are taken; the largest: {named}. Leave files out with .crossfadeignore"
    )
