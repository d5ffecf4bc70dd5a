"""A queue's limit may be a part of its environment's limit, and then follows it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("deployments", "0002_versions"), ("tenants", "0001_schema")]

    operations = [
        migrations.AddField(
            model_name="taskqueue", name="override_percent", field=models.FloatField(null=True)
        ),
        migrations.AddConstraint(
            model_name="taskqueue",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("override_percent__isnull", True),
                    models.Q(
                        ("overridden_at__isnull", False),
                        ("override_percent__gt", 0),
                        ("override_percent__lte", 100),
                    ),
                    _connector="OR",
                ),
                name="deployments_queue_override_percent",
            ),
        ),
        # The arithmetic is that of `deployments.queues.limit_of_percent`.
        migrations.RunSQL(
            sql="""
                CREATE FUNCTION deployments_follow_environment_limit() RETURNS trigger
                LANGUAGE plpgsql AS $$
                BEGIN
                    UPDATE deployments_taskqueue
                    SET concurrency_limit = least(NEW.concurrency_limit,
                        greatest(1, floor(NEW.concurrency_limit * override_percent / 100)))
                    WHERE environment_id = NEW.id AND override_percent IS NOT NULL;
                    RETURN NULL;
                END $$;
                CREATE TRIGGER deployments_follow_environment_limit
                AFTER UPDATE OF concurrency_limit ON tenants_environment FOR EACH ROW
                WHEN (NEW.concurrency_limit <> OLD.concurrency_limit)
                EXECUTE FUNCTION deployments_follow_environment_limit();
            """,
            reverse_sql="""
                DROP TRIGGER deployments_follow_environment_limit ON tenants_environment;
                DROP FUNCTION deployments_follow_environment_limit();
            """,
        ),
    ]
