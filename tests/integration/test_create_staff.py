"""The command that makes the first staff user."""

from __future__ import annotations

import getpass
import io
import sys
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from ledger.selectors import list_audit
from tests.browsing import browser, submit

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db

EMAIL = "ada@example.com"
PASSWORD = "correct horse battery"


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a function that types passwords, one for each time it is asked."""

    def typed(*answers: str) -> None:
        left = list(answers)
        monkeypatch.setattr(getpass, "getpass", lambda _prompt: left.pop(0))

    return typed


def test_the_user_it_makes_may_operate(type_in: Callable[..., None]) -> None:
    """They log in with what was typed, open the admin, and the audit has one row without it."""
    type_in(PASSWORD, PASSWORD)
    said = io.StringIO()
    call_command("create_staff", "Ada@Example.com", name="Ada", stdout=said)
    client = browser()
    client.get("/login")
    submit(client, "/login", email=EMAIL, password=PASSWORD)
    assert client.get("/admin/").status_code == 200
    (row,) = [row for row in list_audit().rows if row.scope.startswith("user:")]
    assert (row.actor, row.source, row.key) == ("system:create_staff", "command", "created")
    assert row.new == {"email": EMAIL, "isStaff": True}
    assert PASSWORD not in said.getvalue()


@pytest.mark.parametrize(
    "line", [f"{PASSWORD}\n", f"{PASSWORD}\r\n", f"{PASSWORD}\nmore\n", PASSWORD]
)
def test_a_program_gives_the_password_on_standard_input(
    monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """The first line without its end is the password, so that none stands in a command line."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    call_command("create_staff", EMAIL, "--password-stdin", stdout=io.StringIO())
    assert get_user_model().objects.get(email=EMAIL).check_password(PASSWORD)


@pytest.mark.parametrize("password", ["", "short", "x" * 4097])
def test_a_password_has_bounds(type_in: Callable[..., None], password: str) -> None:
    """One that can be guessed, or that only costs time to hash, makes nobody."""
    type_in(password, password)
    with pytest.raises(CommandError):
        call_command("create_staff", EMAIL)
    assert not get_user_model().objects.exists()


def test_passwords_that_differ_make_nobody(type_in: Callable[..., None]) -> None:
    """What is typed unseen is typed twice."""
    type_in(PASSWORD, f"{PASSWORD} ")
    with pytest.raises(CommandError, match="differ"):
        call_command("create_staff", EMAIL)
    assert not get_user_model().objects.exists()


@pytest.mark.parametrize("email", ["", "ada", "ada@", "a b@example.com"])
def test_a_name_is_no_email(email: str) -> None:
    """It is refused before a password is asked for."""
    with pytest.raises(CommandError, match="email"):
        call_command("create_staff", email)


def test_nobody_is_made_twice(type_in: Callable[..., None]) -> None:
    """The second time it says so, and the first one's password stays."""
    type_in(PASSWORD, PASSWORD, "another password", "another password")
    call_command("create_staff", EMAIL, stdout=io.StringIO())
    with pytest.raises(CommandError, match="already"):
        call_command("create_staff", EMAIL)
    assert get_user_model().objects.get(email=EMAIL).check_password(PASSWORD)
