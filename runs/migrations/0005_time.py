"""When a ttl and an attempt end, and the record of reconcilers."""

from django.db import migrations, models

# Runs that wait already are counted from when they were queued.
BACKFILL = """
UPDATE runs_taskrun SET ttl_ends_at = first_queued_at + ttl_s * interval '1 second'
WHERE execution_status = 'QUEUED' AND dispatch_number = 0 AND ttl_s IS NOT NULL
  AND first_queued_at IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [("runs", "0004_exact_limits")]

    operations = [
        migrations.AddField("taskrun", "ttl_ends_at", models.DateTimeField(null=True)),
        migrations.AddField("lease", "attempt_ends_at", models.DateTimeField(null=True)),
        migrations.RunSQL(BACKFILL, migrations.RunSQL.noop),
        migrations.AddIndex(
            "taskrun",
            models.Index(
                "ttl_ends_at",
                name="runs_by_ttl_end",
                condition=models.Q(ttl_ends_at__isnull=False),
            ),
        ),
        migrations.AddIndex(
            "lease",
            models.Index(
                "attempt_ends_at",
                name="leases_by_attempt_end",
                condition=models.Q(attempt_ends_at__isnull=False),
            ),
        ),
        migrations.CreateModel(
            name="ReconcilerRecord",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("last_run_at", models.DateTimeField(null=True)),
                ("found", models.IntegerField(default=0)),
                ("fixed", models.IntegerField(default=0)),
                ("error", models.TextField(null=True)),
                ("position", models.TextField(null=True)),
            ],
        ),
    ]
