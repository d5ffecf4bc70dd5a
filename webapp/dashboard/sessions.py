"""Logging in and out."""

from __future__ import annotations

import time

from django.conf import settings
from django.contrib.auth import login as begin_session
from django.contrib.auth import logout as end_session
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from webapp.api.auth import address_of_request
from webapp.dashboard.answers import see_other
from webapp.dashboard.forms import LoginForm, account_of
from webapp.dashboard.known_browsers import browser_of, remember_browser
from webapp.throttle import AUTHENTICATION_FAILURES, LOGINS, LoginTry

HOME = "/"


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def login(request: HttpRequest) -> HttpResponse:
    """Ask who it is; go on to where they were heading."""
    target = _target(request)
    if request.user.is_authenticated:
        return see_other(target)
    if request.method != "POST":
        return _ask(request, LoginForm(request), target, 200)
    tried = _try_of(request)
    wait_s = LOGINS.begin(tried, time.monotonic())
    AUTHENTICATION_FAILURES.labels("password", "yes").inc(1 if wait_s else 0)
    form = LoginForm(request, request.POST, wait_s=wait_s)
    if form.is_valid():
        LOGINS.succeeded(tried, time.monotonic())
        begin_session(request, form.user)
        answer = see_other(target)
        remember_browser(answer, tried.account, tried.browser)
        return answer
    if wait_s:
        refused = _ask(request, form, target, 429)
        refused.headers["Retry-After"] = str(wait_s)
        return refused
    AUTHENTICATION_FAILURES.labels("password", "no").inc()
    return _ask(request, form, target, 401)


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """Forget who it is."""
    end_session(request)
    return see_other(settings.LOGIN_URL)


def _ask(request: HttpRequest, form: LoginForm, target: str, status: int) -> HttpResponse:
    return render(request, "login.html", {"form": form, "next": target}, status=status)


def _try_of(request: HttpRequest) -> LoginTry:
    account = account_of(request.POST.get("email", ""))
    return LoginTry(
        address=address_of_request(request),
        account=account,
        browser=browser_of(request, account),
    )


def _target(request: HttpRequest) -> str:
    """Give the page to go on to: one of ours, else the first one."""
    asked = request.POST.get("next") or request.GET.get("next") or HOME
    is_ours = url_has_allowed_host_and_scheme(
        asked, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return asked if is_ours else HOME
