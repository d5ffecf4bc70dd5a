"""Drop the pattern indexes of the bulk actions' text keys, made when their migration ends."""

from django.db import migrations

from runs.sql import sql_of


class Migration(migrations.Migration):
    dependencies = [("runs", "0014_bulk_actions")]

    operations = [migrations.RunSQL(sql_of("indexes"), migrations.RunSQL.noop)]
