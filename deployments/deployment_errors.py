"""What can go wrong with a deployment, each named for the caller's mistake."""

from __future__ import annotations

from tenants.errors import Conflict, Invalid, NotFound, Refused


class UnknownDeployment(NotFound):
    """No such deployment or version in the caller's environment."""


class AlreadyRegistered(Conflict):
    """Another set of tasks is registered for the deployment."""


class ArtifactMissing(Refused):
    """The deployment names an artifact whose bytes are not here."""


class TemplateCreationFailed(Invalid):
    """A compute template that the deployment cannot do without was not built."""


class TooManyWaiting(Exception):
    """As many deploys as may wait for their templates at once are waiting already."""


class PromotionRefused(Invalid):
    """The version may not become the current one."""


class Overtaken(Conflict):
    """Another version became current than the one a promotion was decided by."""


class UnknownArtifact(NotFound):
    """No uploaded artifact of that name."""


class ArtifactTooLarge(Exception):
    """The artifact is larger than the platform takes."""


class ArtifactMismatch(Invalid):
    """The bytes are not those that were announced."""
