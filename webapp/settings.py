"""Django settings, made from the typed environment. No other module reads the environment."""

import os
from pathlib import Path

import environ
from django.utils.functional import SimpleLazyObject
from django.utils.module_loading import import_string

from deployments.machines import PRESETS, read_presets
from webapp.artifact_storage import storage_setting
from webapp.env import InvalidEnvironment, read_env
from webapp.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
ENV = read_env(os.environ)  # noqa: TID251

if ENV.machine_presets_file:
    try:
        PRESETS.update(read_presets(Path(ENV.machine_presets_file).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InvalidEnvironment(f"MACHINE_PRESETS_OVERRIDE_PATH: {error}") from error

SECRET_KEY = ENV.secret_key
DEBUG = False
IS_PRODUCTION = ENV.mode == "production"
ALLOWED_HOSTS = list(ENV.allowed_hosts) if IS_PRODUCTION else ["*"]

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # before Django's admin, whose templates it replaces
    "django.contrib.admin.apps.SimpleAdminConfig",  # finds no models: webapp/admin/ has every page
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",  # the file of htmx, and what it says about a request
    "ledger",
    "tenants",
    "flags",
    "deployments",
    "runs",
    "webapp.apps.WebappConfig",
]

# What only browsers need (sessions, CSRF, people, messages, framing) is inside the last one, which
# machine routes pass untouched.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "webapp.dashboard.middleware.PageMiddleware",
]
SILENCED_SYSTEM_CHECKS = [
    # They look for Django's classes by name in the list above.
    "security.W002",
    "security.W003",
    "admin.E408",
    "admin.E409",
    "admin.E410",
    # Whether browsers may be told of HTTPS in advance is said for a whole domain, by its owner.
    "security.W021",
]
CSRF_FAILURE_VIEW = "webapp.dashboard.errors.form_refused"

ROOT_URLCONF = "webapp.urls"
WSGI_APPLICATION = "webapp.wsgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,  # the layout of the operators' pages
        "OPTIONS": {
            "context_processors": [
                "webapp.dashboard.migration_state.migration_state",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "webapp.dashboard.theme.theme",
            ]
        },
    }
]

# Django switches prepared statements off; this lets the few that ask for one have it.
NEVER_BY_ITSELF = 1_000_000_000
DATABASES = {
    "default": {
        **environ.Env.db_url_config(ENV.database_url),
        "ENGINE": "ledger.postgresql",  # Django's, without dead connections
        "CONN_MAX_AGE": 0,  # connections live in the pool, which long polls give theirs back to
        "OPTIONS": {
            "pool": {
                "min_size": 1,
                "max_size": ENV.database_pool_size,
                "timeout": ENV.database_pool_timeout_s,
            },
            "application_name": f"crossfade-{ENV.process_name}",
            "prepare_threshold": NEVER_BY_ITSELF,
        },
    }
}

AUTH_USER_MODEL = "tenants.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STORAGES = {
    "default": storage_setting(
        ENV.artifact_storage, folder=(BASE_DIR / ENV.artifacts_dir).resolve()
    ),
    "staticfiles": {"BACKEND": "webapp.dashboard.assets.VersionedStatic"},
}

SESSION_COOKIE_SECURE = IS_PRODUCTION
CSRF_COOKIE_SECURE = IS_PRODUCTION
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True  # forms carry the token themselves
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = IS_PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 31_536_000 if IS_PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_PRODUCTION
X_FRAME_OPTIONS = "DENY"
# Every route has its own limit, in webapp/middleware.py.
DATA_UPLOAD_MAX_MEMORY_SIZE: int | None = None
# Workloads run as other users of the machine: what the server keeps is the server's.
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
LOGIN_URL = "/login"
# Made when a page is: to build it loads routes and templates, which worker and beat never show.
UNFOLD = SimpleLazyObject(lambda: import_string("webapp.admin.look.LOOK"))

LOGGING_CONFIG = None
logging_config(log_file=ENV.log_file, process=ENV.process_name)
