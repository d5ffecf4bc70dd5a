"""Artifacts over HTTP: announced and uploaded by authors, fetched by supervisors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import structlog
from django.core.signing import BadSignature, TimestampSigner
from django.http import FileResponse, HttpRequest, UnreadablePostError
from ninja import Status
from prometheus_client import Counter

from deployments import artifacts
from deployments.deployment_errors import ArtifactTooLarge
from webapp.api.auth import CallerRequest, environment_key, managed_secret
from webapp.api.deployment_answers import UploadAnswer
from webapp.api.deployment_bodies import ArtifactBody
from webapp.api.errors import ApiError
from webapp.api.shapes import new_router

router = new_router(tags=["artifacts"])

UPLOAD_SALT: Final = "crossfade.artifact-upload"
UPLOAD_URL_LIVES_S: Final = 3_600
NOT_STORED: Final = (
    "The code cannot be stored at the moment; nothing was changed, please deploy again later"
)
UNSTORED: Final = Counter(
    "crossfade_artifact_storage_failures_total", "Uploads that the artifacts folder did not take"
)

log = structlog.get_logger(__name__)


def signer() -> TimestampSigner:
    """Give what signs upload URLs. The token stands in the query, which no log line carries."""
    return TimestampSigner(salt=UPLOAD_SALT)


@router.post("/api/v1/artifacts", response=UploadAnswer, auth=environment_key)
def announce(request: CallerRequest, body: ArtifactBody) -> UploadAnswer:
    """Announce an artifact; the URL in the answer takes its bytes for an hour."""
    caller = request.auth
    try:
        upload = artifacts.create_upload(
            project_id=caller.project.id,
            digest=body.digest,
            size=body.size,
            actor=f"key:{caller.key_id}",
            now=datetime.now(UTC),
        )
    except ArtifactTooLarge as error:
        raise ApiError(413, f"size: {error}") from error
    token = signer().sign(upload.artifact_id).removeprefix(f"{upload.artifact_id}:")
    url = request.build_absolute_uri(f"/api/v1/artifacts/upload/{upload.artifact_id}?token={token}")
    return UploadAnswer(url=url, exists=upload.exists or None)


@router.put("/api/v1/artifacts/upload/{artifact_id}", response={204: None})
def upload(request: HttpRequest, artifact_id: str, token: str = "") -> Status[None]:
    """Take the bytes of an announced artifact; the signed URL is the credential."""
    try:
        signer().unsign(f"{artifact_id}:{token}", max_age=UPLOAD_URL_LIVES_S)
    except BadSignature as error:
        raise ApiError(403, "The upload URL is not valid, or not any more") from error
    try:
        artifacts.receive_upload(artifact_id=artifact_id, stream=request, now=datetime.now(UTC))
    except UnreadablePostError as error:
        raise ApiError(400, "The upload broke off") from error
    except OSError as error:  # the folder is full, gone, or not ours
        UNSTORED.inc()
        log.exception("artifact.not_stored", artifact_id=artifact_id)
        raise ApiError(503, NOT_STORED) from error
    return Status(204, None)


@router.get("/engine/v1/artifacts/{path:image}", auth=managed_secret)
def fetch(request: HttpRequest, image: str) -> FileResponse:
    """Give a supervisor or a gateway the artifact of a deployment's image."""
    found = artifacts.open_artifact(image)
    return FileResponse(
        found.file,
        filename="artifact.tar.gz",
        content_type="application/gzip",
        headers={"x-artifact-digest": found.digest, "Content-Length": str(found.size)},
    )
