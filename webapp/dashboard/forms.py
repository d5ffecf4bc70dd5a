"""Forms of the dashboard."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.http import HttpRequest

MAX_EMAIL = 254
MAX_PASSWORD = 1000  # hashing takes as long as its input
WRONG = "The email or the password is wrong."
TOO_MANY = "There were too many wrong tries. Wait {wait_s} seconds and try again."


def account_of(email: str) -> str:
    """Give what tries to log in with this email are counted by: they are found in any case."""
    return email.strip().lower()[:MAX_EMAIL]


class LoginForm(forms.Form):
    """Email and password. What is wrong is never said, so that nothing can be probed."""

    email = forms.CharField(max_length=MAX_EMAIL)
    password = forms.CharField(max_length=MAX_PASSWORD, strip=False)

    def __init__(self, request: HttpRequest, *args: Any, wait_s: int = 0, **kwargs: Any) -> None:
        """Take the request; with `wait_s` no password is looked at."""
        super().__init__(*args, **kwargs)
        self._request = request
        self._wait_s = wait_s
        self.user: Any = None  # the person, once the form is valid

    def clean(self) -> dict[str, Any]:
        """Find the person, or refuse in one wording, whatever is wrong."""
        if self._wait_s:
            raise ValidationError(TOO_MANY.format(wait_s=self._wait_s))
        email = self.cleaned_data.get("email", "").strip()
        password = self.cleaned_data.get("password", "")
        self.user = authenticate(self._request, username=email, password=password)
        if self.user is None:
            raise ValidationError(WRONG)
        return self.cleaned_data
