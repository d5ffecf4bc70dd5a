"""Forms of the dashboard."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.http import HttpRequest

MAX_PASSWORD = 1000  # hashing takes as long as its input
WRONG = "The email or the password is wrong."


class LoginForm(forms.Form):
    """Email and password. What is wrong is never said, so that nothing can be probed."""

    email = forms.CharField(max_length=254)
    password = forms.CharField(max_length=MAX_PASSWORD, strip=False)

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request = request
        self.user: Any = None  # the person, once the form is valid

    def clean(self) -> dict[str, Any]:
        """Find the person, or refuse in one wording, whatever is wrong."""
        email = self.cleaned_data.get("email", "").strip()
        password = self.cleaned_data.get("password", "")
        self.user = authenticate(self._request, username=email, password=password)
        if self.user is None:
            raise ValidationError(WRONG)
        return self.cleaned_data
