"""Artifacts: uploaded by authors, fetched by supervisors, kept by content."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from django.conf import settings

from deployments.artifacts import (
    MAX_ARTIFACT_BYTES,
    create_upload,
    receive_upload,
    sweep_artifact_files,
)
from deployments.deployment_errors import ArtifactMismatch
from tests.deploying import ARCHIVE, Author, digest_of
from tests.factories import Tenant, make_tenant, make_worker_group
from webapp.api.artifacts import NOT_STORED, UNSTORED

if TYPE_CHECKING:
    from django.test import Client
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def stored(tmp_path: Path, settings: Any) -> Path:
    """Give the folder that artifacts are stored in, empty at the start of each test."""
    folder = tmp_path / "files"
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    return folder / "artifacts"


@pytest.fixture
def tenant() -> Tenant:
    """Give an organization to deploy in."""
    return make_tenant()


@pytest.fixture
def author(client: Client, tenant: Tenant) -> Author:
    """Give an author of its production environment."""
    return Author(client, tenant.keys["prod"])


def files_in(folder: Path) -> list[bytes]:
    """Give what is stored."""
    return [path.read_bytes() for path in folder.iterdir()] if folder.exists() else []


def deploy_artifact(author: Author, data: bytes = ARCHIVE) -> str:
    """Deploy a version that carries these bytes and give its image."""
    return str(author.deploy(artifactKey=author.upload(data))["imageTag"])


def fetch(client: Client, image: str, **headers: str) -> Answer:
    """Ask for an image's artifact as a supervisor does."""
    return client.get(f"/engine/v1/artifacts/{quote(image, safe='')}", headers=headers)


def supervisor_headers() -> dict[str, str]:
    """Give what a supervisor presents."""
    return {
        "authorization": f"Bearer {make_worker_group().token}",
        "x-trigger-worker-managed-secret": settings.ENV.managed_worker_secret,
        "x-trigger-worker-instance-name": "supervisor-1",
    }


def test_an_artifact_is_announced_sent_and_then_known(author: Author, stored: Path) -> None:
    """The first announcement gives an URL for the bytes, the next says they are here."""
    first = author.announce().json()
    assert set(first) == {"url"}
    assert author.send(first["url"]).status_code == 204
    assert files_in(stored) == [ARCHIVE]
    again = author.announce().json()
    assert again["exists"] is True


def test_an_upload_may_be_repeated(author: Author, stored: Path) -> None:
    """A client that lost the answer sends again; there is still one file."""
    url = author.announce().json()["url"]
    assert [author.send(url).status_code for _ in range(3)] == [204, 204, 204]
    assert files_in(stored) == [ARCHIVE]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (ARCHIVE[:-1], "size"),
        (ARCHIVE + b"!", "size"),
        (b"", "size"),
        (b"X" * len(ARCHIVE), "digest"),
    ],
)
def test_other_bytes_are_refused_and_not_kept(
    author: Author, stored: Path, data: bytes, what: str
) -> None:
    """Too few, too many, none and wrong ones: a 400 that says which, and nothing is stored."""
    url = author.announce().json()["url"]
    refused = author.send(url, data)
    assert (refused.status_code, what in refused.json()["error"]) == (400, True)
    assert files_in(stored) == []
    assert "exists" not in author.announce().json()
    assert author.send(url).status_code == 204


def test_an_upload_that_breaks_off_leaves_nothing(tenant: Tenant, stored: Path) -> None:
    """A connection lost half-way is as if nothing had been sent."""

    class Broken:
        def __init__(self) -> None:
            self.parts: Iterator[bytes] = iter([ARCHIVE[:4]])

        def read(self, size: int) -> bytes:
            part = next(self.parts, None)
            if part is None:
                raise ConnectionResetError("gone")
            return part

    upload = create_upload(
        project_id=tenant.project.id,
        digest=digest_of(ARCHIVE),
        size=len(ARCHIVE),
        actor="system:test",
        now=NOW,
    )
    with pytest.raises(ConnectionResetError):
        receive_upload(artifact_id=upload.artifact_id, stream=Broken(), now=NOW)
    assert files_in(stored) == []


def test_bytes_arrive_in_bounded_pieces(tenant: Tenant, stored: Path) -> None:
    """An upload is never read into memory as a whole."""
    data = bytes(range(256)) * 4096
    asked: list[int] = []

    class Counting(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size or -1)
            return super().read(size)

    upload = create_upload(
        project_id=tenant.project.id,
        digest=digest_of(data),
        size=len(data),
        actor="system:test",
        now=NOW,
    )
    receive_upload(artifact_id=upload.artifact_id, stream=Counting(data), now=NOW)
    assert files_in(stored) == [data]
    assert 0 < max(asked) <= 65_536
    assert min(asked) > 0


def test_an_oversize_artifact_is_refused_with_the_limit(author: Author) -> None:
    """Over 200 MB is a 413 that names field and limit."""
    refused = author.announce(size=MAX_ARTIFACT_BYTES + 1)
    assert refused.status_code == 413
    assert refused.json()["error"].startswith("size: ")
    assert "200 MB" in refused.json()["error"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"digest": "sha256:xyz"}, "digest"),
        ({"digest": "md5:" + "0" * 32}, "digest"),
        ({"size": 0}, "size"),
        ({"size": -1}, "size"),
        ({"size": "12"}, "size"),
        ({"size": 1.5}, "size"),
    ],
)
def test_a_bad_announcement_names_its_field(
    author: Author, body: dict[str, Any], field: str
) -> None:
    """A wrong digest or size is a 400 with the field."""
    refused = author.announce(**body)
    assert (refused.status_code, refused.json()["problems"][0]["key"]) == (400, field)


def test_one_content_has_one_size(author: Author) -> None:
    """An artifact that is here cannot be announced with another size."""
    author.upload()
    assert author.announce(size=len(ARCHIVE) + 1).status_code == 400


def test_an_upload_url_cannot_be_made_up(author: Author) -> None:
    """Only the URL from the announcement takes bytes."""
    url = author.announce().json()["url"]
    assert author.send(url[:-1] + ("a" if url[-1] != "a" else "b")).status_code == 403
    assert author.send("/api/v1/artifacts/upload/artifact_x?token=1:x").status_code == 403


def test_projects_do_not_share_artifacts(client: Client, author: Author) -> None:
    """The same bytes in another project are unknown there, so nothing can be probed."""
    author.upload()
    stranger = Author(client, make_tenant().keys["prod"])
    assert "exists" not in stranger.announce().json()
    started = stranger.start(artifactKey=digest_of(ARCHIVE))
    stranger.register(started["id"])
    assert stranger.finalize(started["id"]).status_code == 422


def test_a_lost_file_is_uploaded_again(author: Author, stored: Path) -> None:
    """When the storage lost an artifact, the next deploy is asked for it."""
    author.upload()
    for path in stored.iterdir():
        path.unlink()
    url = author.announce().json()
    assert "exists" not in url
    assert author.send(url["url"]).status_code == 204
    assert files_in(stored) == [ARCHIVE]


def test_a_supervisor_fetches_the_artifact_of_an_image(author: Author, client: Client) -> None:
    """The bytes come with their digest, so that whoever fetched them can verify them."""
    answer = fetch(client, deploy_artifact(author), **supervisor_headers())
    assert answer.status_code == 200
    assert b"".join(answer.streaming_content) == ARCHIVE  # type: ignore[attr-defined]
    assert answer.headers["x-artifact-digest"] == digest_of(ARCHIVE)
    assert answer.headers["content-length"] == str(len(ARCHIVE))


def test_an_image_may_stand_in_the_path_unquoted(author: Author, client: Client) -> None:
    """Slash and colon of an image's name are part of the path."""
    image = deploy_artifact(author)
    answer = client.get(f"/engine/v1/artifacts/{image}", headers=supervisor_headers())
    assert b"".join(answer.streaming_content) == ARCHIVE  # type: ignore[attr-defined]


def test_an_unknown_image_is_not_found(author: Author, client: Client) -> None:
    """No deployment, or one whose artifact is not here."""
    headers = supervisor_headers()
    waiting = author.start(artifactKey=digest_of(b"never sent"))
    for image in ("crossfade/proj_x:20260101.1-000000000000", waiting["imageTag"]):
        assert fetch(client, image, **headers).status_code == 404


def test_only_the_managed_secret_fetches(author: Author, client: Client) -> None:
    """It is enough, as a gateway has no more; a group's token alone or an author's key is 401."""
    image, secret = deploy_artifact(author), "x-trigger-worker-managed-secret"
    headers = supervisor_headers()
    answer = fetch(client, image, **{secret: headers.pop(secret)})
    assert b"".join(answer.streaming_content) == ARCHIVE  # type: ignore[attr-defined]
    assert fetch(client, image, **headers).status_code == 401
    assert fetch(client, image, **{**author.headers, secret: "wrong"}).status_code == 401


def test_files_nobody_points_to_are_swept(author: Author, stored: Path) -> None:
    """What a killed upload left goes after a while; artifacts and fresh files stay."""
    author.upload()
    (stored / "left-behind").write_bytes(b"half an arch")
    later = datetime.now(UTC) + timedelta(hours=2)
    assert sweep_artifact_files(now=datetime.now(UTC), older_than=timedelta(hours=1)) == 0
    assert sweep_artifact_files(now=later, older_than=timedelta(hours=1)) == 1
    assert files_in(stored) == [ARCHIVE]


def test_a_second_upload_of_other_bytes_spoils_nothing(tenant: Tenant, stored: Path) -> None:
    """An artifact that is here stays as it is, whatever is sent to its URL."""
    upload = create_upload(
        project_id=tenant.project.id,
        digest=digest_of(ARCHIVE),
        size=len(ARCHIVE),
        actor="system:test",
        now=NOW,
    )
    receive_upload(artifact_id=upload.artifact_id, stream=BytesIO(ARCHIVE), now=NOW)
    with pytest.raises(ArtifactMismatch):
        receive_upload(artifact_id=upload.artifact_id, stream=BytesIO(b"other"), now=NOW)
    assert files_in(stored) == [ARCHIVE]


def test_a_folder_that_takes_nothing_is_said(author: Author, stored: Path) -> None:
    """Full or gone: 503 with what to do, counted for operators, and the same deploy works later."""
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"in the way of the folder")
    before = UNSTORED._value.get()
    url = author.announce(ARCHIVE).json()["url"]
    answer = author.send(url, ARCHIVE)
    assert answer.status_code == 503
    assert answer.json() == {"error": NOT_STORED}
    assert UNSTORED._value.get() == before + 1
    stored.unlink()
    assert author.send(url, ARCHIVE).status_code == 204
