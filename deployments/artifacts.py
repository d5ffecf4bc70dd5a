"""Artifacts: the code of versions as archives, stored once per project and content.

The row points to the stored file, and is pointed there only after the bytes were verified. So an
upload may break off, repeat or race another one at any moment: a reader sees all of it or nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, cast

import structlog
from django.core.files.storage import default_storage
from django.db import transaction

from deployments.deployment_errors import ArtifactMismatch, ArtifactTooLarge, UnknownArtifact
from deployments.models.versions import Artifact, Deployment
from ledger.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta

log = structlog.get_logger(__name__)

MAX_ARTIFACT_BYTES: Final = 200 * 1024 * 1024
CHUNK_BYTES: Final = 64 * 1024
FOLDER: Final = "artifacts"  # inside the file storage


class ByteStream(Protocol):
    """Whatever gives the bytes of an upload."""

    def read(self, size: int, /) -> bytes:
        """Give at most `size` bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client does next about an artifact."""

    artifact_id: str
    exists: bool  # the bytes are here already


@dataclass(frozen=True, slots=True)
class OpenArtifact:
    """An artifact to be read; whoever gets it closes `file`."""

    digest: str  # sha256:<hex>
    size: int  # bytes
    file: IO[bytes]


@transaction.atomic
def create_upload(*, project_id: str, digest: str, size: int, actor: str, now: datetime) -> Upload:
    """Announce an artifact of a project by its content (`sha256:<hex>`) and size in bytes.

    **Raises** `ArtifactTooLarge`; `ArtifactMismatch` when the same content is here with another
    size.
    """
    if size > MAX_ARTIFACT_BYTES:
        raise ArtifactTooLarge(
            f"The artifact has {size} bytes; at most {MAX_ARTIFACT_BYTES} bytes"
            f" ({MAX_ARTIFACT_BYTES // 1024**2} MB) are taken"
        )
    fresh = {"id": new_id("artifact"), "size": size, "path": "", "created_at": now}
    row, created = Artifact.objects.select_for_update().get_or_create(
        project_id=project_id, digest=digest, defaults=fresh
    )
    if not created:
        _announce_again(row, size=size)
    log.info("artifact.announced", artifact_id=row.id, size=size, actor=actor)
    return Upload(artifact_id=row.id, exists=row.uploaded_at is not None)


def receive_upload(*, artifact_id: str, stream: ByteStream, now: datetime) -> None:
    """Store the bytes of an announced artifact; again changes nothing.

    **Raises** `ArtifactMismatch` when the bytes are not the announced ones, and keeps nothing;
    `UnknownArtifact`.
    """
    row = Artifact.objects.filter(id=artifact_id).first()
    if row is None:
        raise UnknownArtifact("There is no such upload")
    path = f"{FOLDER}/{row.digest.removeprefix('sha256:')}-{secrets.token_hex(8)}"
    try:
        saved = default_storage.save(path, cast("Any", _Verified(stream, row)))
    except BaseException:
        default_storage.delete(path)
        raise
    pointed = Artifact.objects.filter(id=row.id, uploaded_at__isnull=True)
    if not pointed.update(path=saved, uploaded_at=now):
        default_storage.delete(saved)  # another upload of the same bytes was first


def open_artifact(image: str) -> OpenArtifact:
    """Open the artifact of a deployment's image, or raise `UnknownArtifact`."""
    row = (
        Deployment.objects.filter(image_reference=image, artifact_digest__isnull=False)
        .order_by("-id")
        .values("project_id", "artifact_digest")
        .first()
    )
    artifact = (
        row
        and Artifact.objects.filter(
            project_id=row["project_id"], digest=row["artifact_digest"], uploaded_at__isnull=False
        ).first()
    )
    if not artifact or not default_storage.exists(artifact.path):
        raise UnknownArtifact(f'There is no artifact of the image "{image}"')
    file = default_storage.open(artifact.path, "rb")
    return OpenArtifact(digest=artifact.digest, size=artifact.size, file=cast("IO[bytes]", file))


def sweep_artifact_files(*, now: datetime, older_than: timedelta) -> int:
    """Delete stored files that no artifact points to, left by killed uploads; give how many.

    A reconciler's tick: it compares the storage with the rows. Younger files may still be coming.
    """
    try:
        names = default_storage.listdir(FOLDER)[1]
    except FileNotFoundError:  # nothing was ever stored; a store without folders says none
        return 0
    known = set(Artifact.objects.exclude(path="").values_list("path", flat=True))
    stored = (f"{FOLDER}/{name}" for name in names)
    orphans = [
        path
        for path in stored
        if path not in known and default_storage.get_modified_time(path) < now - older_than
    ]
    for path in orphans:
        default_storage.delete(path)
        log.warning("artifact.orphan_deleted", path=path)
    return len(orphans)


def _announce_again(row: Artifact, *, size: int) -> None:
    """Let an artifact whose file is gone or was never sent be uploaded (again)."""
    if row.uploaded_at is not None and default_storage.exists(row.path):
        if row.size != size:
            raise ArtifactMismatch(f"The artifact {row.digest} has {row.size} bytes, not {size}")
        return
    row.size, row.uploaded_at = size, None
    row.save(update_fields=["size", "uploaded_at"])


class _Verified:
    """A file for the storage that gives an upload's bytes and fails if they are not the right ones.

    A folder writes chunk by chunk, an object store reads; either way memory stays bounded, and the
    last check comes before the storage could think it is done.
    """

    closed: Final = False  # the stream belongs to the request, which closes it

    def __init__(self, stream: ByteStream, announced: Artifact) -> None:
        self.name = announced.digest
        self.size = announced.size
        self._stream = stream
        self._announced = announced
        self._digest = hashlib.sha256()
        self._seen = 0

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Give the bytes, or raise `ArtifactMismatch` at their end."""
        while chunk := self.read(chunk_size or CHUNK_BYTES):
            yield chunk

    def read(self, size: int = -1, /) -> bytes:
        """Give the next `size` bytes, fewer only at the end, or raise `ArtifactMismatch`.

        Whoever is handed the last bytes asks no more: they are given only when all are right.
        """
        wanted = self.size if size < 0 else size
        pieces, got, chunk = [], 0, b""
        while got < wanted and (chunk := self._stream.read(min(CHUNK_BYTES, wanted - got))):
            pieces.append(chunk)
            got += len(chunk)
            self._seen += len(chunk)
            self._digest.update(chunk)
            if self._seen > self.size:
                break
        if wanted and (not chunk or self._seen >= self.size):
            self._check_end()
        return b"".join(pieces)

    def _check_end(self) -> None:
        if self._seen != self.size or self._stream.read(1):
            raise ArtifactMismatch(
                f"size: the upload does not have the announced {self.size} bytes"
            )
        if f"sha256:{self._digest.hexdigest()}" != self._announced.digest:
            raise ArtifactMismatch(f"digest: the bytes are not those of {self._announced.digest}")

    def seekable(self) -> bool:
        """Tell that it is read once, from the start."""
        return False

    def close(self) -> None:
        """Leave the stream open."""
