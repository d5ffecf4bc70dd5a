import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenants', '0001_schema'),
    ]

    operations = [
        migrations.CreateModel(
            name='WorkerInstanceGroup',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('type', models.CharField(choices=[('MANAGED', 'Managed'), ('UNMANAGED', 'Unmanaged')], max_length=20)),
                ('name', models.CharField(max_length=100)),
                ('master_queue', models.CharField(max_length=200, unique=True)),
                ('description', models.CharField(max_length=200, null=True)),
                ('hidden', models.BooleanField(default=False)),
                ('cloud_provider', models.CharField(max_length=100, null=True)),
                ('location', models.CharField(max_length=100, null=True)),
                ('static_ips', models.CharField(max_length=1000, null=True)),
                ('workload_type', models.CharField(choices=[('CONTAINER', 'Container'), ('MICROVM', 'Microvm')], default='CONTAINER', max_length=20)),
                ('region', models.CharField(max_length=100, null=True)),
                ('priority', models.IntegerField(default=100)),
                ('enable_fast_path', models.BooleanField(default=False)),
                ('token_sha256', models.CharField(max_length=64, unique=True)),
                ('has_run_history', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField()),
                ('updated_at', models.DateTimeField()),
                ('project', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.project')),
            ],
        ),
        migrations.CreateModel(
            name='WorkerInstance',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=200)),
                ('metadata', models.JSONField(default=dict)),
                ('connected_at', models.DateTimeField()),
                ('last_heartbeat_at', models.DateTimeField(null=True)),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='deployments.workerinstancegroup')),
            ],
        ),
        migrations.CreateModel(
            name='ProjectRouting',
            fields=[
                ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='tenants.project')),
                ('allowed_queues', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=200), default=list, size=None)),
                ('default_group', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='deployments.workerinstancegroup')),
            ],
        ),
        migrations.AddConstraint(
            model_name='workerinstancegroup',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('master_queue', ''), _negated=True), models.Q(('master_queue__contains', ':'), _negated=True)), name='deployments_group_queue'),
        ),
        migrations.AddConstraint(
            model_name='workerinstancegroup',
            constraint=models.CheckConstraint(condition=models.Q(('region__isnull', True), models.Q(('region', ''), _negated=True), _connector='OR'), name='deployments_group_region'),
        ),
        migrations.AddConstraint(
            model_name='workerinstancegroup',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('master_queue', models.F('name')), ('project__isnull', True), ('type', 'MANAGED')), models.Q(('project__isnull', False), ('type', 'UNMANAGED')), _connector='OR'), name='deployments_group_owner'),
        ),
        migrations.AddConstraint(
            model_name='workerinstancegroup',
            constraint=models.CheckConstraint(condition=models.Q(('workload_type__in', ['CONTAINER', 'MICROVM'])), name='deployments_group_workload_type'),
        ),
        migrations.AddIndex(
            model_name='workerinstance',
            index=models.Index(fields=['group', '-last_heartbeat_at'], name='deployments_wi_heartbeat'),
        ),
        migrations.AddConstraint(
            model_name='workerinstance',
            constraint=models.UniqueConstraint(fields=('group', 'name'), name='deployments_workerinstance_name'),
        ),
        # Runs remember where they ran by the label, so a label with history stays what it is.
        migrations.RunSQL(
            sql="""
                CREATE FUNCTION deployments_guard_region() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF OLD.has_run_history AND NOT NEW.has_run_history THEN
                        RAISE EXCEPTION 'a worker group with run history keeps it'
                            USING ERRCODE = 'check_violation',
                                  CONSTRAINT = 'deployments_group_history_kept';
                    END IF;
                    IF OLD.has_run_history AND OLD.region IS NOT NULL
                       AND NEW.region IS DISTINCT FROM OLD.region THEN
                        RAISE EXCEPTION 'the region of a worker group with run history is fixed'
                            USING ERRCODE = 'check_violation',
                                  CONSTRAINT = 'deployments_group_region_fixed';
                    END IF;
                    RETURN NEW;
                END $$;
                CREATE TRIGGER deployments_guard_region
                BEFORE UPDATE OF region, has_run_history ON deployments_workerinstancegroup
                FOR EACH ROW EXECUTE FUNCTION deployments_guard_region();
            """,
            reverse_sql="""
                DROP TRIGGER deployments_guard_region ON deployments_workerinstancegroup;
                DROP FUNCTION deployments_guard_region();
            """,
        ),
    ]
