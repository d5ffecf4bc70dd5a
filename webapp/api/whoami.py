"""Who a credential belongs to."""

from typing import Annotated

from django.conf import settings
from ninja import Query

from tenants.selectors import find_project_for_person
from webapp.api.auth import CallerRequest, PersonRequest, environment_key, person_token
from webapp.api.shapes import Answer, new_router

router = new_router(tags=["whoami"])


class OrganizationAnswer(Answer):
    """The organization of an environment key."""

    id: str
    slug: str
    title: str


class ProjectAnswer(Answer):
    """The project of an environment key."""

    id: str
    ref: str
    slug: str
    name: str


class EnvironmentAnswer(Answer):
    """The environment of a key, and what it belongs to."""

    id: str
    type: str
    slug: str
    project: ProjectAnswer
    organization: OrganizationAnswer


class PersonProjectAnswer(Answer):
    """A project that a person asked about."""

    name: str
    url: str
    org_title: str


class PersonAnswer(Answer):
    """The person of a token."""

    user_id: str
    email: str
    dashboard_url: str
    project: PersonProjectAnswer | None = None


@router.get("/v1/whoami", response=EnvironmentAnswer, auth=environment_key)
def get_environment_of_key(request: CallerRequest) -> EnvironmentAnswer:
    """Tell which environment a key belongs to."""
    caller = request.auth
    environment, project, organization = caller.environment, caller.project, caller.organization
    return EnvironmentAnswer(
        id=environment.id,
        type=environment.type,
        slug=environment.slug,
        project=ProjectAnswer(**project._asdict()),
        organization=OrganizationAnswer(
            id=organization.id, slug=organization.slug, title=organization.title
        ),
    )


@router.get("/v2/whoami", response=PersonAnswer, auth=person_token)
def get_person_of_token(
    request: PersonRequest, project_ref: Annotated[str | None, Query(alias="projectRef")] = None
) -> PersonAnswer:
    """Tell who a personal access token belongs to."""
    person, url = request.auth, settings.ENV.public_url
    found = None if project_ref is None else find_project_for_person(project_ref, person)
    project = None
    if found is not None:
        project = PersonProjectAnswer(
            name=found.name, url=f"{url}/projects/{found.ref}", org_title=found.organization_title
        )
    return PersonAnswer(user_id=person.id, email=person.email, dashboard_url=url, project=project)
