"""Install the functions that move waiting runs to another worker queue."""

from django.db import migrations

from runs.sql import sql_of


class Migration(migrations.Migration):
    dependencies = [("runs", "0009_batches_by_environment")]

    operations = [migrations.RunSQL(sql_of("moving"), migrations.RunSQL.noop)]
