"""Install the queue's functions and triggers, without indexes nobody reads."""

from django.db import migrations

from runs.sql import sql_of


class Migration(migrations.Migration):
    dependencies = [("runs", "0001_initial"), ("deployments", "0002_versions"), ("tenants", "0001_schema")]

    operations = [
        migrations.RunSQL(sql_of("indexes"), migrations.RunSQL.noop),
        migrations.RunSQL(sql_of("queue"), migrations.RunSQL.noop),
        migrations.RunSQL(sql_of("dequeue"), migrations.RunSQL.noop),
    ]
