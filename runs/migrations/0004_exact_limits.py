"""Let lowered limits and pauses wait for the dequeues that are under way."""

from django.db import migrations

from runs.sql import sql_of


class Migration(migrations.Migration):
    dependencies = [("runs", "0003_presence"), ("deployments", "0002_versions"), ("tenants", "0001_schema")]

    operations = [migrations.RunSQL(sql_of("limits"), migrations.RunSQL.noop)]
