"""Static files, served by the web process itself.

They are few, small and asked for once per version by each browser: an address names the content's
hash and may be kept for ever. That needs no further package, no option of one particular server and
no step that collects files; a proxy or CDN in front keeps the files just as long.
"""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.views.decorators.http import require_safe

FOR_EVER: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"
HIDDEN: Final = [".*", "*~"]
VERSION_CHARS: Final = 12


class VersionedStatic(StaticFilesStorage):
    """Gives addresses that change with the content, for the `static` tag of templates."""

    def url(self, name: str | None) -> str:
        """Give the address of a file."""
        plain = super().url(name)
        path = _files().get(name or "")
        return plain if path is None else f"{plain}?v={_version_of(path)}"


@require_safe
def asset(request: HttpRequest, name: str) -> HttpResponseBase:
    """Answer with one of the files of the apps; nothing else can be named."""
    path = _files().get(name)
    if path is None:
        raise Http404
    version = _version_of(path)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    etag = quote_etag(version)
    response = HttpResponse(path.read_bytes(), content_type=kind)
    response["ETag"] = etag
    response["Cache-Control"] = FOR_EVER if request.GET.get("v") == version else ASK_AGAIN
    return get_conditional_response(request, etag=etag, response=response) or response


@cache
def _files() -> dict[str, Path]:
    """Give every static file of the apps; the first app that has a name wins."""
    found: dict[str, Path] = {}
    for finder in get_finders():
        for name, storage in finder.list(HIDDEN):
            found.setdefault(name, Path(storage.path(name)))
    return found


def _version_of(path: Path) -> str:
    return _hash_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1000)
def _hash_of(path: Path, _changed_ns: int) -> str:
    """Give the start of the content's hash, computed again when the file was written again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:VERSION_CHARS]
