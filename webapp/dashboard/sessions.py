"""Logging in and out."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import login as begin_session
from django.contrib.auth import logout as end_session
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from webapp.dashboard.answers import see_other
from webapp.dashboard.forms import LoginForm

HOME = "/"


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def login(request: HttpRequest) -> HttpResponse:
    """Ask who it is; go on to where they were heading."""
    target = _target(request)
    if request.user.is_authenticated:
        return see_other(target)
    is_sent = request.method == "POST"
    form = LoginForm(request, request.POST if is_sent else None)
    if is_sent and form.is_valid():
        begin_session(request, form.user)
        return see_other(target)
    status = 401 if is_sent else 200
    return render(request, "login.html", {"form": form, "next": target}, status=status)


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """Forget who it is."""
    end_session(request)
    return see_other(settings.LOGIN_URL)


def _target(request: HttpRequest) -> str:
    """Give the page to go on to: one of ours, else the first one."""
    asked = request.POST.get("next") or request.GET.get("next") or HOME
    is_ours = url_has_allowed_host_and_scheme(
        asked, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return asked if is_ours else HOME
