from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ledger', '0002_append_only'),
    ]

    operations = [
        migrations.CreateModel(
            name='Replica',
            fields=[
                ('id', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('process', models.CharField(max_length=64)),
                ('host', models.CharField(max_length=255)),
                ('pid', models.BigIntegerField()),
                ('revision', models.BigIntegerField(null=True)),
                ('age_ms', models.BigIntegerField(null=True)),
                ('seen_at', models.DateTimeField()),
            ],
        ),
    ]
