"""The operators' admin as staff use it: pages, forms with their hidden fields, and the audit."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, NamedTuple, cast

from ledger.selectors import AuditEntry, list_audit
from runs.reconciler_records import record_run
from runs.tasks import ALL_RECONCILERS
from tests.browsing import browser, page_of
from tests.factories import PersonWithToken, make_person

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpResponse
    from django.test import Client

FLAGS = "/admin/flags/"
REASON = "the second week of the move"


class Staff(NamedTuple):
    """A staff person with a browser."""

    person: PersonWithToken
    client: Client

    def page(self, path: str, status: int = 200) -> str:
        """Give the HTML of a page."""
        return page_of(self.client, path, status)

    def form(self, path: str) -> dict[str, str]:
        """Give what the form of a page would send when nothing in it was touched."""
        return fields_of(self.page(path))

    def send(self, path: str, fields: dict[str, str], status: int) -> str:
        """Send a form, which has to be answered with this status, and give the page."""
        response = cast("HttpResponse", self.client.post(path, fields))
        assert response.status_code == status, response.content.decode().partition('class="op"')[2][
            :3000
        ]
        return response.content.decode()

    def change_flags(self, path: str, typed: Mapping[str, str]) -> str:
        """Go through a page of flags, its review and its reason."""
        asked = {**self.form(path), **{f"flag-{key}": value for key, value in typed.items()}}
        review = fields_of(self.send(path, {**asked, "step": "review"}, 200))
        return self.send(path, {**review, "step": "apply", "reason": REASON}, 303)


def make_staff() -> Staff:
    """Make a staff person with a browser."""
    person = make_person(is_staff=True)
    return Staff(person, browser(person))


def audit_after(revision: int) -> list[AuditEntry]:
    """Give what was written after a revision, oldest first."""
    return [row for row in reversed(list_audit().rows) if row.revision > revision]


def fields_of(page: str) -> dict[str, str]:
    """Give the fields of a page's own form, as a browser would send them."""
    parser = _Fields()
    parser.feed(page)
    return parser.fields


class _Fields(HTMLParser):
    """Collects the fields of the form that is no log-out button."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._is_ours = False
        self._select = ""
        self._area = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name, value = found.get("name") or "", found.get("value") or ""
        if tag == "form":
            self._is_ours = found.get("id") != "logout-form"
        if not self._is_ours:
            return
        if tag == "input" and name:
            self._input(found, name, value)
        if tag == "select":
            self._select = name
        if tag == "option" and ("selected" in found or self._select not in self.fields):
            self.fields[self._select] = value
        if tag == "textarea":
            self._area = name
            self.fields[name] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.fields[self._area] = (self.fields[self._area] + data).strip()

    def _input(self, found: dict[str, str | None], name: str, value: str) -> None:
        if found.get("type") in {"radio", "checkbox"}:
            if "checked" in found:
                self.fields[name] = value if "value" in found else "on"
        else:
            self.fields[name] = value


def run_reconcilers() -> None:
    """Let every reconciler have run just now, and have found nothing."""
    for name in ALL_RECONCILERS:
        record_run(name, 0)
