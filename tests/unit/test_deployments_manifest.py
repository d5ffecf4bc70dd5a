"""What a version brings, from the wire to its values."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from deployments.manifest import QueueManifest, TaskManifest, VersionManifest, queues_of
from tests.deploying import metadata, task
from webapp.api.deployment_bodies import BackgroundWorkerBody, InitializeBody


def manifest_of(*tasks: dict[str, Any], **more: Any) -> VersionManifest:
    """Give the values of a version as it was sent."""
    body = {"localOnly": False, "metadata": metadata(*tasks, **more)}
    return BackgroundWorkerBody.model_validate(body).to_manifest()


def only_task(**settings: Any) -> TaskManifest:
    """Give the values of a version's only task."""
    return manifest_of(task(**settings)).tasks[0]


def problem_of(*tasks: dict[str, Any], **more: Any) -> tuple[str, str]:
    """Give the field and the sentence of the first thing wrong with a version."""
    with pytest.raises(ValidationError) as refused:
        manifest_of(*tasks, **more)
    first = refused.value.errors()[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"]


def test_a_plain_task_gets_every_default() -> None:
    """Three attempts, the small machine, a queue of its own, no limits of time."""
    plain = only_task()
    assert plain == TaskManifest(
        slug="hello-world",
        file_path="tasks.py",
        export_name="hello_world",
        machine="small-1x",
        max_attempts=3,
    )
    assert plain.queue == QueueManifest(name="task/hello-world", type="task")


def test_settings_of_a_task_are_kept() -> None:
    """Queue, retry, machine, duration and ttl arrive as they were given."""
    given = only_task(
        queue={"name": "mail", "concurrencyLimit": 4},
        retry={
            "maxAttempts": 7,
            "factor": 2,
            "randomize": True,
            "outOfMemory": {"machine": "large-1x"},
        },
        machine={"preset": "large-1x"},
        maxDuration=90,
        ttl="1h30m",
    )
    assert given.queue == QueueManifest(name="mail", type="custom", concurrency_limit=4)
    assert given.retry == {
        "maxAttempts": 7,
        "factor": 2.0,
        "randomize": True,
        "outOfMemory": {"machine": "large-1x"},
    }
    assert (given.max_attempts, given.machine) == (7, "large-1x")
    assert (given.max_duration_s, given.ttl_s) == (90, 5400)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"cpu": 0.5, "memory": 0.5}, "small-1x"),
        ({"cpu": 1, "memory": 1.5}, "medium-1x"),
        ({"memory": 9}, "large-2x"),
        ({}, "small-1x"),
    ],
)
def test_a_machine_by_size_is_the_smallest_that_holds_it(
    settings: dict[str, float], name: str
) -> None:
    """Cores and memory choose the first preset with at least both."""
    assert only_task(machine=settings).machine == name


def test_a_short_duration_is_raised_to_five_seconds() -> None:
    """No task is given less than five seconds."""
    assert only_task(maxDuration=1).max_duration_s == 5


def test_a_queue_name_is_cleaned() -> None:
    """Characters no queue may have are dropped, as a trigger's are."""
    assert only_task(queue={"name": "e-mail queue!"}).queue.name == "e-mailqueue"


def test_queues_are_declared_once_each_in_order() -> None:
    """Tasks and the list of queues may name one queue; the limit given anywhere holds."""
    declared = manifest_of(
        task("b", queue={"name": "mail"}),
        task("a", queue={"name": "mail", "concurrencyLimit": 2}),
        task("c", queue={"concurrencyLimit": 1}),
        queues=[{"name": "idle"}, {"name": "mail", "concurrencyLimit": 9}],
    )
    assert queues_of(declared) == (
        QueueManifest(name="idle"),
        QueueManifest(name="mail", concurrency_limit=9),
        QueueManifest(name="task/c", type="task", concurrency_limit=1),
    )


def test_metadata_is_kept_as_it_was_sent() -> None:
    """Fields this platform does not know yet are stored, not lost."""
    sent = metadata(task("a", schedule={"cron": "* * * * *"}), cliPackageVersion="9")
    body = BackgroundWorkerBody.model_validate({"metadata": sent})
    assert body.to_manifest().metadata == sent


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"filePath": 3}, "metadata.tasks.0.filePath"),
        ({"machine": {"preset": "huge"}}, "metadata.tasks.0.machine"),
        ({"machine": {"memory": 99}}, "metadata.tasks.0.machine"),
        ({"retry": {"maxAttempts": 0}}, "metadata.tasks.0.retry.maxAttempts"),
        ({"retry": {"maxAttempts": "3"}}, "metadata.tasks.0.retry.maxAttempts"),
        ({"retry": {"outOfMemory": "large-1x"}}, "metadata.tasks.0.retry.outOfMemory"),
        (
            {"retry": {"outOfMemory": {"machine": "enormous"}}},
            "metadata.tasks.0.retry.outOfMemory.machine",
        ),
        ({"queue": {"name": "!!"}}, "metadata.tasks.0.queue.name"),
        ({"queue": {"concurrencyLimit": -1}}, "metadata.tasks.0.queue.concurrencyLimit"),
        ({"maxDuration": True}, "metadata.tasks.0.maxDuration"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(settings: dict[str, Any], field: str) -> None:
    """A setting of the wrong shape names the field it stands in."""
    assert problem_of(task(**settings))[0] == field


@pytest.mark.parametrize("ttl", ["soon", "", 0, -1, "0s", True, 1.5])
def test_a_wrong_ttl_is_refused_by_its_name(ttl: object) -> None:
    """A ttl is a duration or a positive whole number of seconds."""
    assert problem_of(task(ttl=ttl))[0].startswith("metadata.tasks.0.ttl")


def test_two_tasks_of_one_id_are_refused() -> None:
    """A version defines a task once."""
    field, sentence = problem_of(task("a"), task("b"), task("a"))
    assert field == "metadata.tasks"
    assert "'a'" in sentence


def test_a_blank_external_id_is_none() -> None:
    """An external id is trimmed, and an empty one counts as absent."""
    blank = InitializeBody.model_validate({"contentHash": "x", "externalId": "  "})
    given = InitializeBody.model_validate({"contentHash": "x", "externalId": " pr-7 "})
    assert (blank.to_request().external_id, given.to_request().external_id) == (None, "pr-7")


@pytest.mark.parametrize(
    ("body", "is_pending"),
    [
        ({}, False),
        ({"initialStatus": "BUILDING", "isNativeBuild": True}, False),
        ({"initialStatus": "PENDING"}, True),
        ({"isNativeBuild": True}, True),
    ],
)
def test_a_deployment_is_built_at_once_unless_a_builder_takes_it(
    body: dict[str, Any], *, is_pending: bool
) -> None:
    """The stated first status holds; without one only a builder's deployment waits."""
    request = InitializeBody.model_validate({"contentHash": "x", **body}).to_request()
    assert request.starts_pending is is_pending
