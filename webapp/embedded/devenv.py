"""`var/dev.env`: what a person sources to use the stack from a shell. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from webapp.embedded.environment import FROM_DEV_ENV, control_plane_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webapp.embedded.environment import Surroundings

FROM_DEMO = (
    "TRIGGER_SECRET_KEY",
    "TRIGGER_DEV_SECRET_KEY",
    "CROSSFADE_ADMIN_TOKEN",
    "CROSSFADE_MEMBER_TOKEN",
    "CROSSFADE_USER",
    "CROSSFADE_PASSWORD",
    "CROSSFADE_MEMBER_USER",
    "CROSSFADE_MEMBER_PASSWORD",
)
FOR_COMMANDS = (
    "CROSSFADE_MODE",
    "CROSSFADE_PUBLIC_URL",
    "CROSSFADE_ARTIFACTS_DIR",
    "CROSSFADE_ENCRYPTION_KEYS",
    "DJANGO_SECRET_KEY",
    "MANAGED_WORKER_SECRET",
    "DATABASE_URL",
    "REDIS_URL",
)
"""What `manage.py` asks for. The shell does not get it: a stack started there has its own."""


def dev_env_text(around: Surroundings, demo: Mapping[str, str]) -> str:
    """Give the text of the file; it can be sourced by any POSIX shell, any number of times.

    `demo` holds the keys and tokens of the demo world.
    """
    values = {
        "TRIGGER_API_URL": around.web_url,
        **{name: demo[name] for name in FROM_DEMO},
        "CROSSFADE_MANAGED_SECRET": around.secrets.managed_worker_secret,
        "CROSSFADE_GATEWAY_URL": around.gateway_url,
        "CROSSFADE_GATEWAY_TOKEN": around.secrets.gateway_token,
        "CROSSFADE_SUPERVISOR_URL": around.compute_supervisor_url,
        "DATABASE_URL": around.database_url,
        "REDIS_URL": around.redis_url,
        FROM_DEV_ENV: " ".join(around.embedded_urls),
    }
    folder = shlex.quote(str(around.programs))
    lines = [
        "# Written by `make run`; it holds secrets of this stack.",
        *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
        _manage(around),
        f'case ":$PATH:" in *:{folder}:*) ;; *) export PATH={folder}:"$PATH" ;; esac',
    ]
    return "\n".join(lines) + "\n"


def _manage(around: Surroundings) -> str:
    """Give the shell function that runs `manage.py` of this stack."""
    known = control_plane_environment(around, "manage")
    assigned = " ".join(f"{name}={shlex.quote(known[name])}" for name in FOR_COMMANDS)
    folder, python = (shlex.quote(str(path)) for path in (around.repository, around.python))
    return f'manage() {{ ( cd {folder} && export {assigned} && exec {python} manage.py "$@" ); }}'
