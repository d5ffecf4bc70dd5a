"""All routes of the web process, and one that does nothing."""

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from bench.load import EMPTY_PATH
from webapp.api.auth import environment_key
from webapp.urls import urlpatterns as product_urls


@csrf_exempt
def empty(request: HttpRequest) -> HttpResponse:
    """Answer whoever has an environment key: what any authenticated view costs here."""
    environment_key(request)
    return HttpResponse(b'{"ok":true}', content_type="application/json")


urlpatterns = [path(EMPTY_PATH.removeprefix("/"), empty), *product_urls]

handler400 = "webapp.api.errors.page_refused"
handler403 = "webapp.api.errors.page_refused"
handler404 = "webapp.api.errors.page_not_found"
handler500 = "webapp.api.errors.page_failed"
