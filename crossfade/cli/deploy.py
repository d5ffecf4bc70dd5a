"""`crossfade deploy PATH`: index, upload, register, finalize."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from crossfade.cli.console import CommandFailed, give, say
from crossfade.cli.indexing import Build, build, runtime_version
from crossfade.client.deployments import FinalizeFailed
from crossfade.client.errors import ApiError
from crossfade.errors import CrossfadeError

if TYPE_CHECKING:
    import argparse

    from crossfade.cli.environment import CliEnvironment
    from crossfade.client.deployments import Deployments


def deploy(parsed: argparse.Namespace, environment: CliEnvironment) -> int:
    """Make a version of the tasks at a path and make it the current one."""
    with environment.client() as client:
        say("deploy", f"indexing {parsed.path}")
        built = build(parsed.path)
        say("deploy", f"tasks: {', '.join(built.task_ids)}")
        created = client.deployments.create(
            content_hash=built.archive.content_hash,
            artifact_digest=built.archive.digest,
            runtime_version=runtime_version(),
            triggered_via="cli:manual",
        )
        deployment_id, version = str(created["id"]), str(created["version"])
        say("deploy", f"version {version} ({deployment_id})")
        _fill(client.deployments, deployment_id, built)
        say("deploy", f"version {version} is deployed")
        give({"id": deployment_id, "version": version, "tasks": built.task_ids})
    return 0


def _fill(deployments: Deployments, deployment_id: str, built: Build) -> None:
    """Take a begun deployment to its end; one that cannot get there is marked as failed."""
    try:
        size = f"{math.ceil(len(built.archive.data) / 1024)} kB"
        new = deployments.upload_artifact(built.archive.digest, built.archive.data)
        say("deploy", f"uploaded {size}" if new else f"{size}, already there")
        deployments.register_worker(deployment_id, built.worker_metadata())
        deployments.finalize(deployment_id, on_log=lambda text: say("deploy", text))
    except FinalizeFailed as error:
        raise CommandFailed(f"the platform gave up on the deployment: {error.error}") from error
    except (CrossfadeError, KeyboardInterrupt) as error:
        _mark_failed(deployments, deployment_id, error)
        raise


def _mark_failed(deployments: Deployments, deployment_id: str, error: BaseException) -> None:
    name, message = type(error).__name__, str(error) or "interrupted"
    try:
        deployments.fail(deployment_id, name=name, message=message)
    except (ApiError, CrossfadeError) as second:
        # The first error is the one to show; the platform times the deployment out by itself.
        say("deploy", f"could not mark {deployment_id} as failed: {second}")
