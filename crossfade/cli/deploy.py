"""`crossfade deploy PATH`: index, upload, register, finalize."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Final

from crossfade.cli.console import CommandFailed, give, say
from crossfade.cli.indexing import Build, build, runtime_version
from crossfade.cli.progress import progress_for
from crossfade.client.deployments import FinalizeFailed
from crossfade.errors import CrossfadeError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection
    from pathlib import Path

    from crossfade.cli.environment import CliEnvironment
    from crossfade.cli.progress import Progress
    from crossfade.client.deployments import Deployments

STEPS: Final = ("indexing", "beginning", "uploading", "registering", "deploying")
INTERRUPTED: Final = "Interrupted by whoever deployed"


def deploy(parsed: argparse.Namespace, environment: CliEnvironment) -> int:
    """Make a version of the tasks at a path and make it the current one."""
    if environment.is_development:
        raise CommandFailed(
            "TRIGGER_SECRET_KEY is the key of a development environment, to which nothing is "
            f"deployed; `crossfade dev {parsed.path}` runs its tasks here"
        )
    env = os.environ  # noqa: TID251 - what kind of terminal this is
    progress = progress_for("deploy", STEPS, env)
    try:
        with environment.client() as client:
            result = _deploy(client.deployments, parsed.path, progress)
    finally:
        progress.close()
    give(result)
    return 0


def _deploy(deployments: Deployments, path: Path, progress: Progress) -> dict[str, object]:
    progress.step(f"indexing {path}")
    progress.line(f"indexing {path}")
    built = build(path)
    progress.line(f"tasks: {', '.join(built.task_ids)}")
    progress.step("beginning a version")
    before = deployments.current_task_ids() or ()
    created = deployments.create(
        content_hash=built.archive.content_hash,
        artifact_digest=built.archive.digest,
        runtime_version=runtime_version(),
        triggered_via="cli:manual",
    )
    deployment_id, version = str(created["id"]), str(created["version"])
    progress.line(f"version {version} ({deployment_id})")
    _fill(deployments, deployment_id, built, progress)
    progress.line(f"version {version} is deployed")
    _name_what_is_gone(before, built.task_ids, progress)
    return {"id": deployment_id, "version": version, "tasks": built.task_ids}


def _name_what_is_gone(before: Collection[str], now: Collection[str], progress: Progress) -> None:
    """Say which tasks the environment had and has no more: a deploy replaces all of them."""
    gone = sorted(set(before) - set(now))
    if gone:
        progress.line(f"no longer deployed: {', '.join(gone)}; new runs of them wait for a version")


def _fill(deployments: Deployments, deployment_id: str, built: Build, progress: Progress) -> None:
    """Take a begun deployment to its end; one that cannot get there is failed or canceled."""
    try:
        _upload(deployments, built, progress)
        progress.step(f"registering {len(built.tasks)} tasks")
        deployments.register_worker(deployment_id, built.worker_metadata())
        progress.step("deploying")
        deployments.finalize(deployment_id, on_log=progress.line, on_ping=progress.tick)
    except FinalizeFailed as error:
        raise CommandFailed(f"the platform gave up on the deployment: {error.error}") from error
    except KeyboardInterrupt:
        progress.close()
        _end(lambda: deployments.cancel(deployment_id, reason=INTERRUPTED), "canceled")
        raise
    except CrossfadeError as error:
        progress.close()
        name, message = type(error).__name__, str(error)
        _end(lambda: deployments.fail(deployment_id, name=name, message=message), "failed")
        raise


def _upload(deployments: Deployments, built: Build, progress: Progress) -> None:
    size = f"{math.ceil(len(built.archive.data) / 1024)} kB"
    progress.step(f"uploading {size}")
    archive = built.archive
    new = deployments.upload_artifact(archive.digest, archive.data, on_sent=progress.part)
    progress.line(f"uploaded {size}" if new else f"{size}, already there")


def _end(call: Callable[[], None], how: str) -> None:
    """Let the platform know that nothing more comes, so that it need not wait for its time-out."""
    try:
        call()
    except CrossfadeError as second:
        # The first error is the one to show; the platform times the deployment out by itself.
        say("deploy", f"could not say that the deployment has {how}: {second}")
    else:
        say("deploy", f"the deployment is {how}; the current version stays")
