"""Drop the pattern indexes of the batches' text keys, which are made when their migration ends."""

from django.db import migrations

from runs.sql import sql_of


class Migration(migrations.Migration):
    dependencies = [("runs", "0007_batches")]

    operations = [migrations.RunSQL(sql_of("indexes"), migrations.RunSQL.noop)]
