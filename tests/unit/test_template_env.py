"""The variables of compute templates: typed, and refused by name when they make no sense."""

from __future__ import annotations

import pytest

from webapp.env import InvalidEnvironment, read_env

ENVIRONMENT = {
    "DJANGO_SECRET_KEY": "s",
    "CROSSFADE_ENCRYPTION_KEYS": "k",
    "MANAGED_WORKER_SECRET": "m",
    "DATABASE_URL": "postgres://nobody@localhost/nothing",
    "REDIS_URL": "redis://localhost",
}
PRESETS, REQUIRED = "COMPUTE_TEMPLATE_MACHINE_PRESETS", "COMPUTE_TEMPLATE_MACHINE_PRESETS_REQUIRED"


def test_without_variables_there_is_no_gateway_and_one_preset() -> None:
    """Nothing set means no templates, and the default machine when there is a gateway."""
    env = read_env(ENVIRONMENT)
    assert (env.templates.gateway_url, env.templates.gateway_token) == ("", "")
    assert env.templates.presets == env.templates.presets_required == ("small-1x",)
    assert (env.templates.shadow_percent, env.templates.all_regions) == (0, False)


def test_required_presets_are_all_unless_some_are_named() -> None:
    """Each list keeps its order and names a preset once."""
    env = read_env({**ENVIRONMENT, PRESETS: "micro, small-2x,micro"})
    assert env.templates.presets == env.templates.presets_required == ("micro", "small-2x")
    env = read_env({**ENVIRONMENT, PRESETS: "micro,small-2x", REQUIRED: "small-2x"})
    assert env.templates.presets_required == ("small-2x",)
    env = read_env({**ENVIRONMENT, "COMPUTE_GATEWAY_URL": "http://gateway:1/base/"})
    assert env.templates.gateway_url == "http://gateway:1/base"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (PRESETS, ""),
        (PRESETS, " , "),
        (PRESETS, "huge"),
        (PRESETS, "micro,Micro"),
        (REQUIRED, ""),
        (REQUIRED, "large-1x"),
        ("COMPUTE_TEMPLATE_SHADOW_ROLLOUT_PCT", "101"),
        ("COMPUTE_TEMPLATE_SHADOW_ROLLOUT_PCT", "-1"),
        ("COMPUTE_TEMPLATE_SHADOW_ROLLOUT_PCT", "1.5"),
        ("COMPUTE_TEMPLATE_ALL_REGIONS", "yes"),
        ("COMPUTE_GATEWAY_URL", "gateway:8090"),
        ("COMPUTE_GATEWAY_URL", "http://u:p@gateway"),
    ],
)
def test_what_makes_no_sense_is_named_at_boot(name: str, text: str) -> None:
    """A process does not start with presets, percentages or addresses it would have to guess."""
    with pytest.raises(InvalidEnvironment, match=name):
        read_env({**ENVIRONMENT, name: text})
