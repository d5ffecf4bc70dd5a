"""Whatever is sent to whichever route of the API: it is answered, and what is wrong is named."""

from __future__ import annotations

import dataclasses
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import pytest
from django.conf import settings as platform
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.storable import storable
from tests.access_table import ROUTES, Door
from tests.api_client import strict_json
from tests.asking import NAME, SECRET, Tenants, bearer, make_tenants
from tests.browsing import browser
from tests.garbage import (
    NASTY_BYTES,
    NASTY_TEXTS,
    TEXTS,
    VALUES,
    Schemas,
    encoded,
    places_of,
    with_value,
)
from tests.sizes import examples
from tests.undoing import undone
from webapp.api.openapi import openapi_document
from webapp.throttle import forget_failures

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

DOCUMENT: Final = openapi_document()
SCHEMAS: Final = Schemas(DOCUMENT)
DOORS: Final = (Door.KEY, Door.PERSON, Door.STAFF, Door.WORKER, Door.DEVELOPER, Door.MANAGED)
EXAMPLES: Final = examples(60)  # of each door
JSON: Final = "application/json"
TYPES: Final = (
    JSON,
    "text/plain",
    "multipart/form-data; boundary=x",
    "",
    "application/json; charset=utf-16",
)
# Read by some routes, and not in the document: what a list filters by, and what clients send along.
QUERIES: Final = (
    "filter[status]", "filter[taskIdentifier]", "filter[tag]", "filter[region]", "filter[batch]",
    "filter[machine]", "filter[isTest]", "filter[version]", "filter[queue]",
    "filter[createdAt][from]", "filter[createdAt][to]", "filter[createdAt][period]",
    "page[size]", "page[after]", "page[before]", "attempt", "since", "after", "limit",
)  # fmt: skip
HEADERS: Final = (
    "idempotency-key", "idempotency-key-ttl", "if-match", "last-event-id", "x-reason", "x-request-id",
    "x-trigger-api-version", "x-trigger-branch", "x-trigger-request-idempotency-key",
    "x-trigger-worker-runner-id", "traceparent",
)  # fmt: skip
OURS_ALONE: Final = ("Traceback", "psycopg", "SELECT ", "pydantic", "django")


class Call(NamedTuple):
    """One request, in words of the document."""

    method: str
    path: str
    queries: tuple[str, ...]
    body: st.SearchStrategy[Any] | None  # what it may be; None where the document names none


def all_calls() -> dict[Door, list[Call]]:
    """Give every call of the document by its door."""
    # The table names the parts of some paths otherwise.
    doors = {re.sub(r"\{\w+\}", "*", name): route.door for name, route in ROUTES.items()}
    found: dict[Door, list[Call]] = {}
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            door = doors[re.sub(r"\{\w+\}", "*", f"{method.upper()} {path}")]
            found.setdefault(door, []).append(call_of(method.upper(), path, operation))
    return found


def call_of(method: str, path: str, operation: dict[str, Any]) -> Call:
    """Read an operation of the document."""
    content = operation.get("requestBody", {}).get("content", {}).get(JSON)
    parameters = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    body = None if content is None else SCHEMAS.values(content["schema"])
    return Call(method, path, tuple(one["name"] for one in parameters) or QUERIES, body)


CALLS: Final = all_calls()
BODIES: Final = {door: [call for call in CALLS[door] if call.body is not None] for door in DOORS}


def headers_of(tenants: Tenants, door: Door) -> dict[str, str]:
    """Give what opens a door to the things that there are."""
    mine, managed = tenants.mine, {SECRET: platform.ENV.managed_worker_secret, NAME: "s-1"}
    return {
        Door.KEY: bearer(mine.tenant.keys["prod"]),
        Door.DEVELOPER: bearer(mine.tenant.keys["dev"]),
        Door.PERSON: bearer(mine.person.token),
        Door.STAFF: tenants.bearers["staff"],
        Door.WORKER: bearer(mine.worker_token, **managed),
        Door.MANAGED: bearer(mine.worker_token, **managed),
    }[door]


def path_of(call: Call, tenants: Tenants, draw: st.DataObject) -> str:
    """Fill the path with what there is, now and then with what there is not; add a query."""

    def fill(place: re.Match[str]) -> str:
        known = tenants.ids.get(place[1], "x")
        text = draw.draw(st.just(known) | st.just(known) | TEXTS.filter(bool), label=place[1])
        return quote(text.encode(errors="surrogatepass"), safe="")

    filled = re.sub(r"\{(\w+)\}", fill, call.path)
    one = st.tuples(st.sampled_from(call.queries), TEXTS)
    pairs = draw.draw(st.lists(one, max_size=2), label="query")
    raw = [(name, text.encode(errors="surrogatepass")) for name, text in pairs]
    return f"{filled}?{urlencode(raw)}" if raw else filled


def extra_headers(draw: st.DataObject) -> dict[str, str]:
    """Give headers that clients send along, with anything that a header can hold."""
    text = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))
    held = text | st.sampled_from([one for one in NASTY_TEXTS if one.isprintable()])
    drawn = draw.draw(st.dictionaries(st.sampled_from(HEADERS), held, max_size=2), label="headers")
    return {name: value.encode(errors="replace").decode("latin-1") for name, value in drawn.items()}


class Answer(NamedTuple):
    """What came back."""

    status: int
    kind: str
    text: str


def send(call: Call, path: str, headers: dict[str, str], raw: bytes, kind: str = JSON) -> Answer:
    """Send one request, and take back what it wrote."""
    forget_failures()
    with undone():
        answer = browser().generic(call.method, path, raw, content_type=kind, headers=headers)
        return Answer(answer.status_code, answer["Content-Type"], answer.getvalue().decode())


def check_answer(answer: Answer) -> dict[str, Any]:
    """Check that a request was answered in one of the ways there are; give a refusal's body."""
    assert answer.status < HTTPStatus.INTERNAL_SERVER_ERROR, answer
    if answer.kind.startswith(JSON):
        strict_json(answer.text)
    if answer.status < HTTPStatus.BAD_REQUEST:
        return {}
    assert answer.kind.startswith(JSON), answer
    body: dict[str, Any] = json.loads(answer.text)
    assert set(body) <= {"error", "problems"}, answer
    assert body["error"].strip(), answer
    assert [word for word in OURS_ALONE if word in answer.text] == [], answer
    for problem in body.get("problems", []):
        assert set(problem) == {"key", "message"}, answer
        assert problem["message"], answer
    return body


@pytest.fixture
def tenants(settings: Settings) -> Tenants:
    """Make two tenants, the first with one of everything; no dequeue waits for a run."""
    settings.ENV = dataclasses.replace(settings.ENV, dequeue_blocking_timeout_s=0)
    return make_tenants()


MANY = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("door", DOORS)
@MANY
@given(draw=st.data())
def test_whatever_is_sent_is_answered(tenants: Tenants, door: Door, draw: st.DataObject) -> None:
    """Any path, query, headers and body: never a failure of ours, and refusals have one form."""
    call = draw.draw(st.sampled_from(CALLS[door]), label="call")
    body = (
        (VALUES if call.body is None else call.body).map(encoded)
        | VALUES.map(encoded)
        | st.sampled_from(NASTY_BYTES)
        | st.binary()
    )
    raw = draw.draw(body, label="body") if call.method != "GET" else b""
    kind = draw.draw(st.just(JSON) | st.sampled_from(TYPES), label="content type")
    path = path_of(call, tenants, draw)
    headers = {**extra_headers(draw), **headers_of(tenants, door)}
    check_answer(send(call, path, headers, raw, kind))


@pytest.mark.parametrize("door", [door for door in DOORS if BODIES[door]])
@MANY
@given(draw=st.data())
def test_one_wrong_value_is_named(tenants: Tenants, door: Door, draw: st.DataObject) -> None:
    """A body that is taken but for one place of it: a refusal names the place, or what holds it."""
    call = draw.draw(st.sampled_from(BODIES[door]), label="call")
    assert call.body is not None
    value = draw.draw(call.body, label="value")
    place = draw.draw(st.sampled_from(places_of(value) or [()]), label="place")
    wrong = draw.draw(VALUES, label="wrong")
    path = re.sub(r"\{(\w+)\}", lambda part: quote(tenants.ids[part[1]], safe=""), call.path)
    right = send(call, path, headers_of(tenants, door), encoded(value))
    answer = send(call, path, headers_of(tenants, door), encoded(with_value(value, place, wrong)))
    check_answer(right)
    body = check_answer(answer)
    if place and right.status < HTTPStatus.BAD_REQUEST == answer.status:
        told = " ".join([body["error"], *(one["key"] for one in body.get("problems", []))])
        keys = [*place, *(part for inner in places_of(wrong) for part in inner)]
        known = [storable(key) for key in keys if isinstance(key, str)]
        is_no_text = told == "Invalid JSON" and "\\ud" in json.dumps(wrong)  # half a character
        assert is_no_text or any(key in told for key in known), (call.path, place, wrong, answer)
