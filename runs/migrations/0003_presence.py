"""The note of the web processes that runners can be heard."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0002_functions")]

    operations = [
        migrations.CreateModel(
            name="Presence",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("heard_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="presence_is_one_row")
                ],
            },
        ),
    ]
