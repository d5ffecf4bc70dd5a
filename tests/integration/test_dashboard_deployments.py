"""The deployments room: which versions there are, what became of them, and choosing the current one."""

from __future__ import annotations

import html
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test import Client

from deployments.deployment_errors import Overtaken
from deployments.deployment_lines import MAX_LINES, list_lines, note_line
from deployments.deployment_views import EnvironmentScope
from deployments.promotion import promote_version
from deployments.room_selectors import get_deployment_detail
from deployments.staff_selectors import list_any_deployments
from ledger.selectors import current_revision, list_audit
from runs.reconcilers import release_waiting_versions
from runs.selectors import get_any_run
from runs.version_selectors import Concerned, count_concerned_runs
from tenants.projects import create_project
from tests.browsing import TASK, Shop, browser, make_shop, page_of, submit
from tests.deploying import Author, metadata, task
from tests.factories import NOW, ORIGIN, make_person, make_tenant
from tests.running import change

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db

OTHER = "mail-invoice"


@pytest.fixture
def shop() -> Shop:
    """Give a tenant with a deployed task."""
    return make_shop()


def author_of(shop: Shop, environment: str = "prod") -> Author:
    """Give somebody with the key of an environment."""
    return Author(Client(), shop.tenant.keys[environment])


def room(shop: Shop, deployment_id: str = "", environment: str = "prod") -> str:
    """Give the address of the list, or of a deployment's page."""
    rest = f"deployments/{deployment_id}" if deployment_id else "deployments"
    return shop.room(rest, environment=environment)


def text_of(shop: Shop, deployment_id: str = "", client: Client | None = None) -> str:
    """Give what a member reads on the list, or on a deployment's page."""
    page = page_of(client or browser(shop.person), room(shop, deployment_id))
    main = page.partition("<main")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def promote(shop: Shop, deployment_id: str, *, current: str) -> str:
    """Press the button, having read which version is current; give what is read then."""
    client, path = browser(shop.person), room(shop, deployment_id)
    answer = submit(client, f"{path}/promote", current=current)
    assert (answer.status_code, answer["Location"]) == (303, path)
    return text_of(shop, deployment_id, client)


# -- calling one off -------------------------------------------------------------------------------


def test_a_deploy_under_way_is_called_off(shop: Shop) -> None:
    """The current version stays, the log says who did it, and whoever deploys is refused after."""
    author = author_of(shop)
    current = author.deploy(metadata(task(TASK)))["version"]
    begun = str(author.start(contentHash="next")["id"])
    author.register(begun, metadata(task(TASK)))
    client, path = browser(shop.person), room(shop, begun)
    assert f"Cancel this deploy Its version is not used. {current} stays" in text_of(shop, begun)
    answer = submit(client, f"{path}/cancel")
    assert (answer.status_code, answer["Location"]) == (303, path)
    text = text_of(shop, begun, client)
    assert "The deploy is canceled; the current version stays." in text
    assert "Canceled on its page" in text
    assert shop.person.email in text
    assert "Cancel this deploy" not in text
    assert author.finalize(begun).status_code == 409
    assert f"New runs use {current}" in text_of(shop)


def test_a_deploy_that_is_over_cannot_be_called_off(shop: Shop) -> None:
    """Its page has no such button, and a late press changes nothing."""
    author_of(shop).deploy(metadata(task(TASK)))
    client = browser(shop.person)
    made = list_any_deployments().rows[0].deployment
    assert "Cancel this deploy" not in text_of(shop, made.id)
    submit(client, f"{room(shop, made.id)}/cancel")
    assert "The deploy was over already" in text_of(shop, made.id, client)
    other = make_shop()
    stranger = browser(other.person)
    assert submit(stranger, f"{room(other, made.id)}/cancel").status_code == 404


# -- the list --------------------------------------------------------------------------------------


def test_the_list_says_which_version_new_runs_use(shop: Shop) -> None:
    """The first line names the current version, which is marked; who deployed it is its key."""
    made = author_of(shop).deploy(metadata(task(TASK), task(OTHER)))
    page = page_of(browser(shop.person), room(shop))
    assert f"New runs use {made['version']}" in page
    assert page.count('data-testid="current"') == 1
    assert page.count('data-testid="deployment"') == 2
    text = text_of(shop)
    assert f"{made['version']} current 2 tasks key …{shop.tenant.keys['prod'][-4:]}" in text


def test_pages_lead_over_every_deployment_once(shop: Shop) -> None:
    """Older and Newer meet each deployment once, in both directions, and no other tenant's."""
    begun = [author_of(shop).start()["id"] for _ in range(59)]
    author_of(make_shop()).start()
    client, seen, path = browser(shop.person), [], room(shop)
    newest = page_of(client, path)
    while path:
        page = page_of(client, path)
        seen += re.findall(r'data-row="(\w+)"', page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = f"{room(shop)}{older[1]}" if older else ""
    assert [one for one in seen if one in begun] == begun[::-1]
    assert len(seen) == len(set(seen)) == 60
    (newer,) = re.findall(r'rel="prev" href="([^"]+)"', page)
    assert re.findall(r'data-row="(\w+)"', page_of(client, room(shop) + newer)) == seen[25:50]
    assert 'rel="prev"' not in newest


def test_the_list_is_asked_for_again_while_something_goes_on(shop: Shop) -> None:
    """Often while a deployment is under way, seldom else, and on an older page not at all."""
    client = browser(shop.person)
    assert 'hx-trigger="every 15s"' in page_of(client, room(shop))
    started = author_of(shop).start()
    assert 'hx-trigger="every 3s"' in page_of(client, room(shop))
    part = client.get(room(shop), headers={"hx-request": "true", "hx-target": "deployments"})
    assert part.content.strip().startswith(b'<div id="deployments"')
    author_of(shop).post(f"/api/v1/deployments/{started['id']}/cancel")
    assert "every" not in page_of(client, f"{room(shop)}?after={started['id']}")


def test_a_list_costs_the_same_however_long_it_is(
    shop: Shop, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """Tasks, current versions and people are not asked for row by row."""
    author = author_of(shop)
    for _ in range(10):
        author.deploy()
    client = browser(shop.person)
    page_of(client, room(shop))
    with django_assert_max_num_queries(9):
        page_of(client, room(shop))


def test_an_empty_list_says_how_to_fill_it(shop: Shop) -> None:
    """Where nothing is deployed stands the command; development has another one."""
    client = browser(shop.person)
    assert "crossfade deploy examples" in page_of(client, room(shop, environment="stg"))
    assert "crossfade dev" in page_of(client, room(shop, environment="dev"))
    assert "Nothing is deployed yet" in page_of(client, room(shop, environment="stg"))


# -- the page --------------------------------------------------------------------------------------


def test_the_page_tells_the_way_of_a_deployment(shop: Shop) -> None:
    """Its log, tasks, queues and times are there; who did what is a key, as far as it is known."""
    described = metadata(
        task(TASK, queue={"name": "mail", "concurrencyLimit": 3}, machine={"preset": "small-2x"})
    )
    git = {"commitAuthorName": "Ada Lovelace", "commitSha": "abc123", "commitMessage": "Mail it"}
    made = author_of(shop).deploy(described, gitMeta=git, runtime="python")
    text = text_of(shop, made["id"])
    ending = shop.tenant.keys["prod"][-4:]
    assert f"Version {made['version']} is deployed, and new runs use it" in text
    assert f"Ada Lovelace, key …{ending}" in text
    assert f"key …{ending} Version {made['version']} was begun" in text
    for said in (
        "The tasks and queues are registered", "Deployed", "Became the current version",
        "tasks.py hello_world small-2x mail at most 3", "mail Open at most 3", "Mail it",
    ):  # fmt: skip
        assert said in text
    assert shop.worker_queue not in text


def test_the_page_is_fresh_until_the_deployment_is_over(shop: Shop) -> None:
    """It asks for itself while something goes on, and then no more."""
    author, client = author_of(shop), browser(shop.person)
    started = author.start()
    assert "every 2s" in page_of(client, room(shop, started["id"]))
    assert "is being built" in text_of(shop, started["id"])
    headers = {"hx-request": "true", "hx-target": "deployment"}
    part = client.get(room(shop, started["id"]), headers=headers).content.decode()
    assert part.startswith("<title>Building")
    assert "<main" not in part
    author.register(started["id"])
    assert "is being deployed" in text_of(shop, started["id"])
    author.post(f"/api/v1/deployments/{started['id']}/cancel", {"reason": "not today"})
    page = page_of(client, room(shop, started["id"]))
    assert "every 2s" not in page
    assert "Canceled: not today" in page


def test_a_failure_says_what_to_do_and_that_nothing_was_lost(shop: Shop) -> None:
    """The error comes first, with what was written, what it means to runs, and a way out."""
    author = author_of(shop)
    current = author.deploy()["version"]
    started = author.start()
    error = {"name": "BuildError", "message": "no <room>", "stack": "File tasks.py", "stderr": "oh"}
    author.post(f"/api/v1/deployments/{started['id']}/fail", {"error": error})
    text = text_of(shop, started["id"])
    assert "BuildError: no <room>" in text
    assert f"Runs are not concerned: they go on with {current}." in text
    assert "Correct what it names, and deploy again." in text
    assert "File tasks.py oh" in text
    assert "<room>" not in page_of(browser(shop.person), room(shop, started["id"]))


def test_a_log_has_an_end(shop: Shop) -> None:
    """Whoever repeats a step for ever adds no lines for ever, and a long text is cut."""
    started = author_of(shop).start()
    for number in range(MAX_LINES + 5):
        note_line(started["id"], f"line {number}\x00" + "x" * 3000, at=NOW)
    lines = list_lines(started["id"])
    assert len(lines) == MAX_LINES
    assert {len(line.text) for line in lines[1:]} == {2000}


def test_another_tenants_deployments_are_not_there(shop: Shop) -> None:
    """Its page and button answer 404 below every place but its own, for staff as well."""
    made = author_of(shop).deploy()
    stranger, staff = make_shop(), browser(make_person(is_staff=True))
    page_of(browser(stranger.person), room(shop, made["id"]), status=404)
    page_of(browser(stranger.person), room(stranger, made["id"]), status=404)
    page_of(staff, room(stranger, made["id"]), status=404)
    page_of(staff, room(shop, made["id"], environment="stg"), status=404)
    page_of(staff, room(shop, made["id"]))
    for path in (room(shop, made["id"]), room(stranger, made["id"])):
        assert submit(browser(stranger.person), f"{path}/promote").status_code == 404
    page_of(staff, room(shop, "deployment_none"), status=404)


def test_staff_are_no_people_of_the_organization(shop: Shop) -> None:
    """What staff did is the operator's to a member; what a member did carries their name."""
    author = author_of(shop)
    first = author.deploy()
    second = author.deploy()
    staff = make_person(is_staff=True)
    path = f"{room(shop, first['id'])}/promote"
    submit(browser(staff), path, current=second["version"])
    text = text_of(shop, first["id"])
    assert "the operator Became the current version" in text
    assert staff.email not in text
    promote(shop, second["id"], current=first["version"])
    assert f"{shop.person.email} Became the current version" in text_of(shop, second["id"])


# -- choosing the current version ------------------------------------------------------------------


def test_a_rollback_says_what_it_means_and_can_be_taken_back(shop: Shop) -> None:
    """The button names the version, beside it stands what comes of it; one audit row for each."""
    author = author_of(shop)
    old = author.deploy(metadata(task(TASK)))
    new = author.deploy(metadata(task(TASK), task(OTHER)))
    shop.trigger(TASK)
    shop.trigger(OTHER)
    text = text_of(shop, old["id"])
    assert f"Roll back to {old['version']}" in text
    assert f"New runs of Production use {old['version']} in place of {new['version']}." in text
    assert "So do 2 queued runs." in text
    assert f"It lacks {OTHER}: runs of what it lacks wait for a later version" in text
    assert "among them 1 queued run." in text
    text = promote(shop, old["id"], current=new["version"])
    assert f"New runs use {old['version']} from now on." in text
    assert "is deployed, and new runs use it" in text
    assert "Roll back" not in text
    assert f"Promote {new['version']}" in text_of(shop, new["id"])
    promote(shop, new["id"], current=old["version"])
    back, rolled = list_audit(key="currentVersion", limit=2).rows
    assert (rolled.old, rolled.new) == (new["version"], old["version"]) == (back.new, back.old)
    assert (back.actor, back.source) == (f"user:{shop.person.email}", "dashboard")


def test_a_page_that_was_overtaken_changes_nothing(shop: Shop) -> None:
    """Who read of another current version is told so, and asked to decide anew."""
    author = author_of(shop)
    first, second, third = (author.deploy() for _ in range(3))
    revision = current_revision()
    text = promote(shop, first["id"], current=second["version"])
    assert f"Meanwhile {third['version']} became the current version" in text
    text = promote(shop, third["id"], current=third["version"])
    assert "already; nothing was changed" in text
    assert current_revision() == revision


@pytest.mark.django_db(transaction=True)
def test_of_two_who_decide_at_one_moment_one_is_told(shop: Shop) -> None:
    """Both saw the same current version: one promotion happens, the other is refused, whole."""
    author = author_of(shop)
    first, second, third = (author.deploy() for _ in range(3))
    revision = current_revision()
    scope = EnvironmentScope(
        environment_id=shop.tenant.environments["prod"].id,
        project_id=shop.tenant.project.id,
        project_ref=shop.tenant.project.ref,
        organization_id=shop.tenant.organization.id,
    )

    def decide(version: str) -> bool:
        try:
            promote_version(
                scope=scope, version=version, allow_rollback=True, seen=third["version"],
                actor="user:a", now=NOW,
            )  # fmt: skip
        except Overtaken:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(decide, (first["version"], second["version"])))
    assert sorted(done) == [False, True]
    assert current_revision() == revision + 1


def test_projects_have_their_own_current_versions(shop: Shop) -> None:
    """In an organization with several projects each row names its own, and one is promoted alone."""
    made = create_project(shop.tenant.organization.id, name="Warehouse", now=NOW, **ORIGIN)
    (key,) = (new.key for new in made.environments if new.environment.slug == "prod")
    assert "1 of 2 projects have a current version" in text_of(shop)
    other = Author(Client(), key.plaintext)
    old, new = other.deploy(), other.deploy()
    text = text_of(shop)
    assert "2 of 2 projects have a current version" in text
    assert "Warehouse" in text
    before = author_of(shop).get("/api/v1/deployments/current").json()["version"]
    assert "New runs of Warehouse, Production use" in text_of(shop, old["id"])
    promote(shop, old["id"], current=new["version"])
    assert other.get("/api/v1/deployments/current").json()["id"] == old["id"]
    assert author_of(shop).get("/api/v1/deployments/current").json()["version"] == before


def test_only_what_is_deployed_can_be_promoted(shop: Shop) -> None:
    """A deployment under way or one that ended otherwise has no button, and a forged form no effect."""
    author = author_of(shop)
    current = author.deploy()["version"]
    started = author.start()
    revision = current_revision()
    for step in ("begun", "canceled"):
        assert 'data-testid="promote"' not in page_of(
            browser(shop.person), room(shop, started["id"])
        ), step
        assert "not DEPLOYED" in promote(shop, started["id"], current=current)
        author.post(f"/api/v1/deployments/{started['id']}/cancel")
    assert current_revision() == revision


def test_a_promotion_releases_who_waited_for_it(shop: Shop) -> None:
    """Runs of a task that only this version has are told beside the button, and begin."""
    author = author_of(shop)
    run_id = shop.trigger(OTHER)
    current = author.get("/api/v1/deployments/current").json()["version"]
    made = author.deploy(metadata(task(OTHER)), skipPromotion=True)
    assert "Besides, 1 run that waits for such a version can begin." in text_of(shop, made["id"])
    promote(shop, made["id"], current=current)
    release_waiting_versions()
    assert get_any_run(run_id).status == "PENDING"


def test_runs_that_took_a_version_are_not_counted(shop: Shop) -> None:
    """Only those for which no version was chosen yet are concerned, and only of the environment."""
    shop.trigger()
    kept = shop.trigger()
    shop.trigger(environment="stg")
    environment = shop.tenant.environments["prod"].id
    author = author_of(shop)
    listed = author.get("/api/v1/deployments").json()["data"][0]["id"]
    detail = get_deployment_detail(environment_ids=[environment], deployment_id=listed)
    assert detail.listed.is_current
    worker = author.get(f"/api/v1/deployments/{listed}").json()["worker"]["id"]
    change("UPDATE runs_taskrun SET worker_id = %s WHERE id = %s", worker, kept)
    found = count_concerned_runs(environment_id=environment, tasks=[TASK])
    assert found == Concerned(queued=1, without_task=0, released=0, is_complete=True)
    other = make_tenant().environments["prod"].id
    assert count_concerned_runs(environment_id=other, tasks=[TASK]).queued == 0
