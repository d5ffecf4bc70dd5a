"""What artifacts ask of a file storage, held against a folder, memory and a store that speaks S3."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.storage import default_storage

from deployments.artifacts import FOLDER, create_upload, receive_upload, sweep_artifact_files
from deployments.deployment_errors import ArtifactMismatch
from tests.deploying import Author
from tests.factories import make_tenant
from tests.object_store import BUCKET, KEY_ID, SECRET_KEY, ObjectStore, serving_s3
from webapp.artifact_storage import storage_setting
from webapp.env import ArtifactStorageEnv, InvalidEnvironment, read_env

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from django.test import Client

    from tests.factories import Tenant

pytestmark = pytest.mark.django_db

ARCHIVE = b"an archive of code" * 1000
LARGE = b"0123456789abcdef" * (9 * 1024 * 1024 // 16)  # more than one part of an upload to S3
MEMORY = {"BACKEND": "django.core.files.storage.InMemoryStorage"}


class BrokenOff(OSError):
    """The connection of an upload was lost."""


class Dribble:
    """A stream that gives fewer bytes than it is asked for, as a connection does."""

    def __init__(self, data: bytes, *, breaks: bool = False) -> None:
        """Take what it gives, and whether it breaks off then."""
        self._stream = BytesIO(data)
        self._breaks = breaks

    def read(self, size: int, /) -> bytes:
        """Give at most 10,000 bytes."""
        data = self._stream.read(min(size, 10_000))
        if not data and self._breaks:
            raise BrokenOff
        return data


def bucket(url: str, **changes: str) -> ArtifactStorageEnv:
    """Give the environment of a bucket."""
    given = {
        "bucket": BUCKET,
        "endpoint_url": url,
        "region": "us-east-1",
        "access_key_id": KEY_ID,
        "secret_access_key": SECRET_KEY,
        "prefix": "crossfade",
    }
    return ArtifactStorageEnv(**{**given, **changes})


@pytest.fixture(params=["folder", "memory", "s3"])
def storage(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> str:
    """Give one storage after the other, empty."""
    if request.param == "s3":
        request.getfixturevalue("store")
    else:
        folder = storage_setting(bucket("", bucket=""), folder=tmp_path / "files")
        made = {"folder": folder, "memory": MEMORY}
        settings.STORAGES = {**settings.STORAGES, "default": made[request.param]}
    return str(request.param)


@pytest.fixture
def store(settings: Any, tmp_path: Path) -> Iterator[ObjectStore]:
    """Give an object store that artifacts are kept in."""
    with serving_s3(tmp_path / "store") as made:
        setting = storage_setting(bucket(made.url), folder=tmp_path)
        settings.STORAGES = {**settings.STORAGES, "default": setting}
        yield made


@pytest.fixture
def tenant() -> Tenant:
    """Give an organization to deploy in."""
    return make_tenant()


def announce(tenant: Tenant, data: bytes, size: int | None = None) -> str:
    """Announce an artifact of these bytes, and give the id of its upload."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    now = datetime.now(UTC)
    made = create_upload(
        project_id=tenant.project.id, digest=digest, size=size or len(data), actor="a", now=now
    )
    return made.artifact_id


def stored() -> list[str]:
    """Give the names of what is kept."""
    try:
        return list(default_storage.listdir(FOLDER)[1])
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("data", [b"x", ARCHIVE, LARGE], ids=["byte", "small", "large"])
def test_what_was_uploaded_is_fetched(
    storage: str, tenant: Tenant, client: Client, data: bytes
) -> None:
    """The bytes come back as they went in, however they arrived, and a repeat keeps one file."""
    upload = announce(tenant, data)
    for _ in range(2):
        receive_upload(artifact_id=upload, stream=Dribble(data), now=datetime.now(UTC))
    assert len(stored()) == 1
    author = Author(client, tenant.keys["prod"])
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    image = author.deploy(artifactKey=digest)["imageTag"]
    secret = {"x-trigger-worker-managed-secret": _managed_secret()}
    answer = client.get(f"/engine/v1/artifacts/{image}", headers=secret)
    assert (answer.status_code, answer["x-artifact-digest"]) == (200, digest)
    assert b"".join(answer) == data


@pytest.mark.parametrize("data", [ARCHIVE[:-1], ARCHIVE + b"!", b"", b"X" * len(ARCHIVE)])
def test_other_bytes_are_never_kept(storage: str, tenant: Tenant, data: bytes) -> None:
    """Too few, too many, none and wrong ones are refused before the storage has them."""
    upload = announce(tenant, ARCHIVE)
    with pytest.raises(ArtifactMismatch):
        receive_upload(artifact_id=upload, stream=Dribble(data), now=datetime.now(UTC))
    assert stored() == []
    receive_upload(artifact_id=upload, stream=Dribble(ARCHIVE), now=datetime.now(UTC))
    assert len(stored()) == 1


@pytest.mark.parametrize("data", [ARCHIVE[:500], LARGE[:-1]], ids=["small", "large"])
def test_an_upload_that_breaks_off_leaves_nothing(
    storage: str, tenant: Tenant, data: bytes
) -> None:
    """Nothing is kept of it, also when parts had arrived."""
    upload = announce(tenant, LARGE)
    with pytest.raises(BrokenOff):
        receive_upload(artifact_id=upload, stream=Dribble(data, breaks=True), now=datetime.now(UTC))
    assert stored() == []


def test_what_nobody_points_to_is_swept(storage: str, tenant: Tenant) -> None:
    """Files without a row go once they are old; artifacts stay; an empty storage is no failure."""
    later = datetime.now(UTC) + timedelta(days=2)
    day = timedelta(days=1)
    assert sweep_artifact_files(now=later, older_than=day) == 0
    receive_upload(
        artifact_id=announce(tenant, ARCHIVE), stream=BytesIO(ARCHIVE), now=datetime.now(UTC)
    )
    (kept,) = stored()
    default_storage.save(f"{FOLDER}/orphan", BytesIO(b"half of it"))
    assert sweep_artifact_files(now=datetime.now(UTC), older_than=day) == 0
    assert sweep_artifact_files(now=later, older_than=day) == 1
    assert stored() == [kept]


def test_a_bucket_holds_objects_under_the_prefix(store: ObjectStore, tenant: Tenant) -> None:
    """Everything of ours is below the prefix, named by its content, and no address is signed."""
    receive_upload(
        artifact_id=announce(tenant, ARCHIVE), stream=BytesIO(ARCHIVE), now=datetime.now(UTC)
    )
    (name,) = store.objects()
    assert name.startswith(f"crossfade/{FOLDER}/{hashlib.sha256(ARCHIVE).hexdigest()}-")
    assert "Signature" not in default_storage.url(f"{FOLDER}/x")


def test_a_bucket_that_is_down_fails_the_upload_and_not_the_next(
    store: ObjectStore, tenant: Tenant, client: Client
) -> None:
    """While the store is down an upload is answered 5xx, so that it is sent again, and then is."""
    client.raise_request_exception = False
    author = Author(client, tenant.keys["prod"])
    url = author.announce(ARCHIVE).json()["url"]
    store.stop()
    assert author.send(url, ARCHIVE).status_code >= 500
    store.start()
    assert author.send(url, ARCHIVE).status_code == 204
    assert list(store.objects().values()) == [ARCHIVE]


def test_a_wrong_secret_stores_nothing(
    store: ObjectStore, tenant: Tenant, client: Client, settings: Any, tmp_path: Path
) -> None:
    """The store checks who signs; an upload it refuses is our failure, not the author's."""
    client.raise_request_exception = False
    other = storage_setting(bucket(store.url, secret_access_key="other"), folder=tmp_path)
    settings.STORAGES = {**settings.STORAGES, "default": other}
    author = Author(client, tenant.keys["prod"])
    assert author.send(author.announce(ARCHIVE).json()["url"], ARCHIVE).status_code >= 500
    assert store.objects() == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ARTIFACT_STORAGE_S3_ENDPOINT_URL": "not an address"}, "ENDPOINT_URL"),
        ({"ARTIFACT_STORAGE_S3_ACCESS_KEY_ID": "a"}, "go together"),
        ({"ARTIFACT_STORAGE_S3_SECRET_ACCESS_KEY": "a"}, "go together"),
    ],
)
def test_a_wrong_setting_is_named_at_the_start(given: dict[str, str], said: str) -> None:
    """A process refuses to start with half a credential or an address that is none."""
    needed = dict.fromkeys(
        ("DJANGO_SECRET_KEY", "CROSSFADE_ENCRYPTION_KEYS", "MANAGED_WORKER_SECRET",
         "DATABASE_URL", "REDIS_URL"), "x",
    )  # fmt: skip
    assert read_env({**needed, "CROSSFADE_MODE": "test"}).artifact_storage.bucket == ""
    with pytest.raises(InvalidEnvironment, match=said):
        read_env({**needed, "CROSSFADE_MODE": "test", **given})


def _managed_secret() -> str:
    from django.conf import settings

    return str(settings.ENV.managed_worker_secret)
