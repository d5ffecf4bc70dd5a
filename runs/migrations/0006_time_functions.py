"""Install the functions that expire runs, without the indexes nobody reads."""

from django.db import migrations

from runs.sql import sql_of


class Migration(migrations.Migration):
    dependencies = [("runs", "0005_time")]

    operations = [
        migrations.RunSQL(sql_of("indexes"), migrations.RunSQL.noop),
        migrations.RunSQL(sql_of("expiry"), migrations.RunSQL.noop),
        migrations.RunSQL(sql_of("dequeue"), migrations.RunSQL.noop),
    ]
