"""Batches and their items. Only additions: code of before goes on working."""

from django.db import migrations, models
from django.db.models import F, Q

from runs.sql import sql_of


class Migration(migrations.Migration):
    dependencies = [("runs", "0006_time_functions")]

    operations = [
        migrations.CreateModel(
            name="Batch",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("environment_id", models.CharField(max_length=40)),
                ("run_count", models.IntegerField()),
                ("item_count", models.IntegerField(default=0)),
                ("parent_run_id", models.CharField(max_length=40, null=True)),
                ("idempotency_key_shown", models.TextField(null=True)),
                ("created_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField()),
                ("sealed_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        name="batch_has_no_more_items_than_announced",
                        condition=Q(item_count__gte=0, item_count__lte=F("run_count")),
                    ),
                    models.CheckConstraint(
                        name="batch_is_sealed_when_complete",
                        condition=Q(sealed_at__isnull=True, item_count__lt=F("run_count"))
                        | Q(sealed_at__isnull=False, item_count=F("run_count")),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BatchItem",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "batch_id", "item_index", blank=True, editable=False,
                        primary_key=True, serialize=False,
                    ),
                ),
                ("batch_id", models.CharField(max_length=40)),
                ("item_index", models.IntegerField()),
                ("task_slug", models.TextField()),
                ("run_id", models.CharField(max_length=40, null=True)),
                ("error", models.TextField(null=True)),
                ("error_code", models.CharField(max_length=40, null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        name="batch_item_is_a_run_or_an_error",
                        condition=Q(run_id__isnull=False, error__isnull=True)
                        | Q(run_id__isnull=True, error__isnull=False),
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="BatchKey",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "environment_id", "key", blank=True, editable=False,
                        primary_key=True, serialize=False,
                    ),
                ),
                ("environment_id", models.CharField(max_length=40)),
                ("key", models.TextField()),
                ("batch_id", models.CharField(max_length=40)),
                ("created_at", models.DateTimeField()),
            ],
            options={"indexes": [models.Index("created_at", name="batch_keys_by_age")]},
        ),
        migrations.CreateModel(
            name="BatchBucket",
            fields=[
                (
                    "environment_id",
                    models.CharField(max_length=40, primary_key=True, serialize=False),
                ),
                ("tokens", models.FloatField()),
                ("filled_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField("taskrun", "batch_id", models.CharField(max_length=40, null=True)),
        migrations.AddIndex(
            "taskrun",
            models.Index("batch_id", name="runs_by_batch", condition=Q(batch_id__isnull=False)),
        ),
        migrations.RunSQL(sql_of("batch"), migrations.RunSQL.noop),
    ]
