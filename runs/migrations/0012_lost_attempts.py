"""How many attempts of a run were lost with their workers. Only an addition."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0011_hourly_counts")]

    operations = [
        migrations.AddField("taskrun", "lost_attempts", models.IntegerField(db_default=0)),
    ]
