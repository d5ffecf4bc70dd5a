"""Lists by task and by tag are read from an index. Built beside the triggers, which go on."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("runs", "0012_lost_attempts")]

    operations = [
        AddIndexConcurrently(
            "taskrun",
            models.Index(
                models.F("environment_id"),
                models.F("task_slug"),
                models.OrderBy(models.F("id"), descending=True),
                name="runs_by_task",
            ),
        ),
        AddIndexConcurrently(
            "taskrun",
            GinIndex(
                fields=["tags"],
                name="runs_by_tag",
                fastupdate=False,
                condition=models.Q(("tags", []), _negated=True),
            ),
        ),
    ]
