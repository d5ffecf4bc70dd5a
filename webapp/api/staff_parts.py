"""What several answers of the staff API name in the same way."""

from webapp.api.shapes import Answer


class OrganizationPart(Answer):
    """An organization by its name in ids and in paths."""

    id: str
    slug: str


class EnvironmentPart(Answer):
    """An environment; `type` is upper case, `slug` as in its keys."""

    id: str
    type: str
    slug: str
