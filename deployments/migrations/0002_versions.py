import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('deployments', '0001_worker_groups'),
        ('tenants', '0001_schema'),
    ]

    operations = [
        migrations.CreateModel(
            name='Artifact',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('digest', models.CharField(max_length=71)),
                ('size', models.PositiveBigIntegerField()),
                ('path', models.CharField(max_length=1024)),
                ('uploaded_at', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField()),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.project')),
            ],
        ),
        migrations.CreateModel(
            name='BackgroundWorker',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('version', models.CharField(max_length=128)),
                ('content_hash', models.CharField(max_length=1024)),
                ('package_version', models.CharField(max_length=128)),
                ('runtime', models.CharField(max_length=128, null=True)),
                ('runtime_version', models.CharField(max_length=128, null=True)),
                ('metadata', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField()),
                ('environment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.environment')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.project')),
            ],
        ),
        migrations.CreateModel(
            name='CurrentVersion',
            fields=[
                ('environment', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='tenants.environment')),
                ('promoted_at', models.DateTimeField()),
                ('worker', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='deployments.backgroundworker')),
            ],
        ),
        migrations.CreateModel(
            name='Deployment',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('version', models.CharField(max_length=128)),
                ('short_code', models.CharField(max_length=16)),
                ('content_hash', models.CharField(max_length=1024)),
                ('type', models.CharField(default='MANAGED', max_length=16)),
                ('status', models.CharField(max_length=16)),
                ('image_reference', models.CharField(max_length=1024, null=True)),
                ('artifact_digest', models.CharField(max_length=71, null=True)),
                ('runtime', models.CharField(max_length=128, null=True)),
                ('runtime_version', models.CharField(max_length=128, null=True)),
                ('git', models.JSONField(null=True)),
                ('external_id', models.CharField(max_length=128, null=True)),
                ('triggered_via', models.CharField(max_length=128, null=True)),
                ('skip_promotion', models.BooleanField(default=False)),
                ('error', models.JSONField(null=True)),
                ('created_at', models.DateTimeField()),
                ('started_building_at', models.DateTimeField(null=True)),
                ('deployed_at', models.DateTimeField(null=True)),
                ('failed_at', models.DateTimeField(null=True)),
                ('canceled_at', models.DateTimeField(null=True)),
                ('cancel_reason', models.CharField(max_length=200, null=True)),
                ('artifact', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='deployments.artifact')),
                ('environment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.environment')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.project')),
            ],
        ),
        migrations.AddField(
            model_name='backgroundworker',
            name='deployment',
            field=models.OneToOneField(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='worker', to='deployments.deployment'),
        ),
        migrations.CreateModel(
            name='TaskQueue',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=136)),
                ('type', models.CharField(max_length=8)),
                ('concurrency_limit', models.PositiveIntegerField(null=True)),
                ('declared_limit', models.PositiveIntegerField(null=True)),
                ('overridden_at', models.DateTimeField(null=True)),
                ('paused', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField()),
                ('environment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.environment')),
            ],
        ),
        migrations.CreateModel(
            name='WorkerTask',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('slug', models.CharField(max_length=128)),
                ('file_path', models.CharField(max_length=1024)),
                ('export_name', models.CharField(max_length=1024)),
                ('description', models.TextField(null=True)),
                ('queue_name', models.CharField(max_length=136)),
                ('machine', models.CharField(max_length=32)),
                ('retry', models.JSONField(null=True)),
                ('max_attempts', models.PositiveIntegerField(default=3)),
                ('max_duration_s', models.PositiveIntegerField(null=True)),
                ('ttl_s', models.PositiveIntegerField(null=True)),
                ('worker', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tasks', to='deployments.backgroundworker')),
            ],
        ),
        migrations.AddConstraint(
            model_name='artifact',
            constraint=models.UniqueConstraint(fields=('project', 'digest'), name='deployments_artifact_once_per_project'),
        ),
        migrations.AddConstraint(
            model_name='artifact',
            constraint=models.CheckConstraint(condition=models.Q(('digest__regex', '^sha256:[0-9a-f]{64}$')), name='deployments_artifact_digest_form'),
        ),
        migrations.AddConstraint(
            model_name='artifact',
            constraint=models.CheckConstraint(condition=models.Q(('size__gt', 0)), name='deployments_artifact_not_empty'),
        ),
        migrations.AddIndex(
            model_name='deployment',
            index=models.Index(fields=['environment', 'id'], name='deployments_by_environment'),
        ),
        migrations.AddIndex(
            model_name='deployment',
            index=models.Index(fields=['image_reference'], name='deployments_by_image'),
        ),
        migrations.AddIndex(
            model_name='deployment',
            index=models.Index(condition=models.Q(('status__in', ['PENDING', 'INSTALLING', 'BUILDING', 'DEPLOYING'])), fields=['created_at'], name='deployments_unfinished'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.UniqueConstraint(fields=('environment', 'version'), name='deployments_deployment_version_once'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.UniqueConstraint(fields=('environment', 'short_code'), name='deployments_deployment_short_code_once'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.UniqueConstraint(condition=models.Q(('external_id__isnull', False), ('status__in', ['PENDING', 'INSTALLING', 'BUILDING', 'DEPLOYING'])), fields=('environment', 'external_id'), name='deployments_deployment_one_unfinished_external_id'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['PENDING', 'INSTALLING', 'BUILDING', 'DEPLOYING', 'DEPLOYED', 'FAILED', 'CANCELED', 'TIMED_OUT'])), name='deployments_deployment_status_known'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status', 'DEPLOYED'), _negated=True), ('deployed_at__isnull', False), _connector='OR'), name='deployments_deployment_deployed_has_time'),
        ),
        migrations.AddConstraint(
            model_name='backgroundworker',
            constraint=models.UniqueConstraint(fields=('environment', 'version'), name='deployments_worker_version_once'),
        ),
        migrations.AddConstraint(
            model_name='backgroundworker',
            constraint=models.UniqueConstraint(fields=('id', 'environment'), name='deployments_worker_id_environment'),
        ),
        migrations.AddConstraint(
            model_name='taskqueue',
            constraint=models.UniqueConstraint(fields=('environment', 'name'), name='deployments_queue_once_per_environment'),
        ),
        migrations.AddConstraint(
            model_name='taskqueue',
            constraint=models.CheckConstraint(condition=models.Q(('type__in', ['task', 'custom'])), name='deployments_queue_type'),
        ),
        migrations.AddConstraint(
            model_name='workertask',
            constraint=models.UniqueConstraint(fields=('worker', 'slug'), name='deployments_task_once_per_worker'),
        ),
        migrations.AddConstraint(
            model_name='workertask',
            constraint=models.CheckConstraint(condition=models.Q(('max_attempts__gte', 1)), name='deployments_task_has_an_attempt'),
        ),
        # A registered version never changes: what a run was locked to is what it gets.
        migrations.RunSQL(
            sql="""
                CREATE FUNCTION deployments_refuse_version_update() RETURNS trigger
                LANGUAGE plpgsql AS $$
                BEGIN
                    RAISE EXCEPTION 'a registered version cannot be changed'
                        USING ERRCODE = 'check_violation',
                              CONSTRAINT = 'deployments_version_immutable';
                END $$;
                CREATE TRIGGER deployments_refuse_update
                BEFORE UPDATE ON deployments_backgroundworker
                FOR EACH ROW EXECUTE FUNCTION deployments_refuse_version_update();
                CREATE TRIGGER deployments_refuse_update
                BEFORE UPDATE ON deployments_workertask
                FOR EACH ROW EXECUTE FUNCTION deployments_refuse_version_update();
            """,
            reverse_sql="""
                DROP TRIGGER deployments_refuse_update ON deployments_workertask;
                DROP TRIGGER deployments_refuse_update ON deployments_backgroundworker;
                DROP FUNCTION deployments_refuse_version_update();
            """,
        ),
        # An environment's current version is one of its own.
        migrations.RunSQL(
            sql="""
                ALTER TABLE deployments_currentversion
                ADD CONSTRAINT deployments_current_in_environment
                FOREIGN KEY (worker_id, environment_id)
                REFERENCES deployments_backgroundworker (id, environment_id)
                ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
            """,
            reverse_sql="""
                ALTER TABLE deployments_currentversion
                DROP CONSTRAINT deployments_current_in_environment;
            """,
        ),
    ]
