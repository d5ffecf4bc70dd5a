"""Which of Django's file storages keeps deployed code: a folder, or a bucket that speaks S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from webapp.env import ArtifactStorageEnv

IN_MEMORY_BYTES: Final = 8 * 1024 * 1024  # of an artifact that is read; the rest is on disk

CONNECT_S: Final = 5
READ_S: Final = 60
TRIES: Final = 2  # whoever uploads or fetches tries again, too


def storage_setting(env: ArtifactStorageEnv, *, folder: Path) -> dict[str, Any]:
    """Give the setting of the storage: of the bucket when one is named, else of the folder.

    Names are never given out twice, and nobody but us reads them: objects are private, and no
    address of one is ever signed. Checksums are sent only where the protocol demands them, since
    not every store knows the newer ones, and artifacts carry their own digest.
    """
    if not env.bucket:
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(folder)},
        }
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": _s3_options(env)}


def _s3_options(env: ArtifactStorageEnv) -> dict[str, Any]:
    # Only who stores in a bucket has the package: `make setup-s3`.
    from boto3.s3.transfer import TransferConfig  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    options = {
        "bucket_name": env.bucket,
        "location": env.prefix,
        "endpoint_url": env.endpoint_url or None,
        "region_name": env.region or None,
        "access_key": env.access_key_id or None,
        "secret_key": env.secret_access_key or None,
        "default_acl": None,
        "querystring_auth": False,
        "file_overwrite": False,
        "max_memory_size": IN_MEMORY_BYTES,
        # An upload is read by the thread of its request, a part at a time.
        "transfer_config": TransferConfig(use_threads=False),
        "client_config": Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if env.endpoint_url else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": TRIES},
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
        ),
    }
    return {name: value for name, value in options.items() if value is not None}
