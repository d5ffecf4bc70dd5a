"""Find the old batches of an environment without reading everybody's."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0008_batch_indexes")]

    operations = [
        migrations.AddIndex(
            "batch", models.Index("environment_id", "id", name="batches_by_environment")
        )
    ]
