"""What a gateway said of a template, read per preset. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from deployments.machines import PRESETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from compute.contracts import TemplateCreateResponse

TOLERANCE: Final = 1e-9  # cores and GB are the same when they differ by no more
NOT_BUILT: Final = "not built"


class PresetState(NamedTuple):
    """What has become of one preset of a version in one region."""

    preset: str
    region: str
    is_required: bool
    error: str | None  # None: it is ready


def errors_by_preset(
    presets: Iterable[str], response: TemplateCreateResponse
) -> Mapping[str, str | None]:
    """Give the error of each preset, None for one that was built.

    **Rule** the result of its size; a preset without a result has the request's error, if there is
    one, else it was not built. A request's error that no preset explains is that of them all:
    nothing is taken for built on the word of a gateway that says it failed.
    """
    missing = response.error or NOT_BUILT
    errors = {preset: _error_of(preset, response, missing) for preset in presets}
    if response.error and not any(errors.values()):
        return dict.fromkeys(errors, response.error)
    return errors


def _error_of(preset: str, response: TemplateCreateResponse, missing: str) -> str | None:
    machine = PRESETS[preset]
    for result in response.results:
        config = result.machine_config
        is_same = (
            abs(config.cpu - machine.cpu) <= TOLERANCE
            and abs(config.memory_gb - machine.memory) <= TOLERANCE
        )
        if is_same:
            return result.error or None
    return missing


def count_built(states: Iterable[PresetState]) -> int:
    """Count the presets that are ready in every region.

    >>> count_built([PresetState("micro", "us", True, None),
    ...              PresetState("micro", "eu", True, "no disk")])
    0
    """
    is_built: dict[str, bool] = {}
    for state in states:
        is_built[state.preset] = is_built.get(state.preset, True) and state.error is None
    return sum(is_built.values())


def failure_text(states: Iterable[PresetState]) -> str:
    """Give why a deploy that requires its templates fails, "" when it does not.

    >>> failure_text([PresetState("micro", "us", True, "no disk"),
    ...               PresetState("small-1x", "us", False, "slow")])
    'micro: no disk'
    """
    failed = {
        f"{state.preset}: {state.error}": None
        for state in states
        if state.is_required and state.error is not None
    }
    return "; ".join(failed)


def warnings_of(states: Iterable[PresetState]) -> list[str]:
    """Give a line for each preset that is missing and may be."""
    return [
        f"The code is not prepared for {state.preset}, and need not be: {state.error}"
        for state in states
        if not state.is_required and state.error is not None
    ]
