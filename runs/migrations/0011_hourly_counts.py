"""How many runs each organization triggered in each hour. Only an addition."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0010_moving")]

    operations = [
        migrations.CreateModel(
            name="HourlyCount",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "hour", "organization_id", blank=True, editable=False,
                        primary_key=True, serialize=False,
                    ),
                ),
                ("hour", models.DateTimeField()),
                ("organization_id", models.CharField(max_length=40)),
                ("runs", models.IntegerField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(runs__gte=1), name="hourly_count_positive"
                    )
                ],
            },
        ),
    ]
