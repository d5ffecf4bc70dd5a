import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.CreateModel(
            name='Environment',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('type', models.CharField(choices=[('DEVELOPMENT', 'Development'), ('STAGING', 'Staging'), ('PREVIEW', 'Preview'), ('PRODUCTION', 'Production')], max_length=20)),
                ('slug', models.CharField(max_length=20)),
                ('concurrency_limit', models.IntegerField(default=100)),
                ('paused', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='User',
            fields=[
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('email', models.EmailField(max_length=254, unique=True)),
                ('name', models.CharField(blank=True, default='', max_length=200)),
                ('is_staff', models.BooleanField(default=False)),
                ('is_active', models.BooleanField(default=True)),
                ('created_at', models.DateTimeField()),
                ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
        ),
        migrations.CreateModel(
            name='EnvironmentKey',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('sha256', models.CharField(max_length=64, unique=True)),
                ('ciphertext', models.TextField()),
                ('last4', models.CharField(max_length=4)),
                ('created_at', models.DateTimeField()),
                ('revoked_at', models.DateTimeField(null=True)),
                ('environment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.environment')),
            ],
        ),
        migrations.CreateModel(
            name='Organization',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('title', models.CharField(max_length=200)),
                ('slug', models.CharField(max_length=80, unique=True)),
                ('plan', models.CharField(choices=[('free', 'Free'), ('paid', 'Paid'), ('enterprise', 'Enterprise')], max_length=20, null=True)),
                ('plan_at', models.DateTimeField(null=True)),
                ('plan_source', models.CharField(choices=[('staff', 'Staff'), ('billing', 'Billing'), ('system', 'System')], max_length=20, null=True)),
                ('created_at', models.DateTimeField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('plan__isnull', True), ('plan__in', ['free', 'paid', 'enterprise']), _connector='OR'), name='tenants_organization_plan'), models.CheckConstraint(condition=models.Q(models.Q(('plan_at__isnull', True), ('plan_source__isnull', True)), models.Q(('plan_at__isnull', False), ('plan_source__in', ['staff', 'billing', 'system'])), _connector='OR'), name='tenants_organization_plan_source'), models.CheckConstraint(condition=models.Q(('slug', ''), _negated=True), name='tenants_organization_slug')],
            },
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('owner', 'Owner'), ('admin', 'Admin'), ('member', 'Member')], max_length=20)),
                ('created_at', models.DateTimeField()),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.organization')),
            ],
        ),
        migrations.AddField(
            model_name='environment',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.organization'),
        ),
        migrations.CreateModel(
            name='PersonalAccessToken',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('sha256', models.CharField(max_length=64, unique=True)),
                ('name', models.CharField(max_length=100)),
                ('last4', models.CharField(max_length=4)),
                ('created_at', models.DateTimeField()),
                ('revoked_at', models.DateTimeField(null=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='Project',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('ref', models.CharField(max_length=64, unique=True)),
                ('name', models.CharField(max_length=200)),
                ('slug', models.CharField(max_length=80)),
                ('created_at', models.DateTimeField()),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.organization')),
            ],
        ),
        migrations.AddField(
            model_name='environment',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.project'),
        ),
        migrations.AddConstraint(
            model_name='user',
            constraint=models.CheckConstraint(condition=models.Q(('email', django.db.models.functions.text.Lower('email'))), name='tenants_user_email_lower'),
        ),
        migrations.AddConstraint(
            model_name='environmentkey',
            constraint=models.UniqueConstraint(condition=models.Q(('revoked_at__isnull', True)), fields=('environment',), name='tenants_environmentkey_one_root'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(fields=('user', 'organization'), name='tenants_membership_once'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.CheckConstraint(condition=models.Q(('role__in', ['owner', 'admin', 'member'])), name='tenants_membership_role'),
        ),
        migrations.AddConstraint(
            model_name='project',
            constraint=models.UniqueConstraint(fields=('organization', 'slug'), name='tenants_project_slug'),
        ),
        migrations.AddConstraint(
            model_name='project',
            constraint=models.UniqueConstraint(fields=('id', 'organization'), name='tenants_project_id_organization'),
        ),
        migrations.AddConstraint(
            model_name='environment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('slug', 'dev'), ('type', 'DEVELOPMENT')), models.Q(('slug', 'stg'), ('type', 'STAGING')), models.Q(('slug', 'preview'), ('type', 'PREVIEW')), models.Q(('slug', 'prod'), ('type', 'PRODUCTION')), _connector='OR'), name='tenants_environment_type'),
        ),
        migrations.AddConstraint(
            model_name='environment',
            constraint=models.CheckConstraint(condition=models.Q(('concurrency_limit__gte', 0)), name='tenants_environment_concurrency_limit'),
        ),
        migrations.AddConstraint(
            model_name='environment',
            constraint=models.UniqueConstraint(condition=models.Q(('type', 'PREVIEW'), _negated=True), fields=('project', 'type'), name='tenants_environment_one_per_type'),
        ),
        # An environment belongs to the organization of its project: the database says so.
        migrations.RunSQL(
            sql="""
                ALTER TABLE tenants_environment
                ADD CONSTRAINT tenants_environment_same_tenant
                FOREIGN KEY (project_id, organization_id)
                REFERENCES tenants_project (id, organization_id)
                DEFERRABLE INITIALLY DEFERRED
            """,
            reverse_sql="""
                ALTER TABLE tenants_environment DROP CONSTRAINT tenants_environment_same_tenant
            """,
        ),
    ]
