"""Every failure a router can meet, and what the caller is told. One table for all routers.

Bodies are `{"error": text, "problems"?: [{"key", "message"}]}`. A conflict carries
`x-should-retry: false`, because clients of the public protocol repeat a bare 409.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.http.request import RawPostDataException
from ninja.errors import AuthenticationError, HttpError, ValidationError
from redis.exceptions import ConnectionError as RedisConnectionError

from deployments.deployment_errors import TooManyWaiting
from runs.errors import TooLarge
from tenants.errors import Conflict, Invalid, NotFound, Problem, Refused
from webapp.api.unstorable import unstorable_parts

if TYPE_CHECKING:
    from ninja import NinjaAPI

log = structlog.get_logger(__name__)

WAIT_A_WHILE: Final[Mapping[str, str]] = {"Retry-After": "15"}  # seconds; a build takes about that
NO_RETRY: Final[Mapping[str, str]] = {"x-should-retry": "false"}
_UNREADABLE_BODY = "Cannot parse request body"  # what ninja says
# Where the library's own words say less than ours.
_SENTENCES: Final[Mapping[str, str]] = {
    "extra_forbidden": "there is no such key",
    "missing": "is required",
}


class ErrorAnswer(NamedTuple):
    """What goes out for a failure."""

    status: int
    message: str
    problems: tuple[Problem, ...] = ()
    headers: Mapping[str, str] = {}


class ApiError(Exception):
    """A failure that a router states itself."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        problems: tuple[Problem, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        default = NO_RETRY if status == 409 else {}  # noqa: PLR2004  the one status with a default
        self.answer = ErrorAnswer(status, message, problems, headers or default)


def answer_for(error: Exception) -> ErrorAnswer:
    """Give what the caller is told: the row of the nearest class; unknown ones are 500."""
    for kind in type(error).__mro__:
        row = TABLE.get(kind)
        if row is not None:
            return row(error)
    return ErrorAnswer(500, "Something went wrong")


def respond(request: HttpRequest, error: Exception | type[Exception]) -> JsonResponse:
    """Give the JSON response of a failure, and log what the caller is not told."""
    error = cast("Exception", error)  # ninja's type names classes too, which it never hands over
    answer = answer_for(error)
    if isinstance(error, DataError | UnicodeEncodeError):  # the latter before it is sent there
        answer = _naming_unstorable(request, answer)
    log_failure(answer, error, path=request.path)
    return json_error(answer)


def log_failure(answer: ErrorAnswer, error: Exception, **where: str) -> None:
    """Log a fault of ours, with all that is known of it, or of what we depend on, in a line."""
    if answer.status == 503:  # noqa: PLR2004
        log.warning("dependency.unavailable", error=str(error), **where)
    elif answer.status >= 500:  # noqa: PLR2004
        log.error("request.failed", exc_info=error, **where)


def _naming_unstorable(request: HttpRequest, answer: ErrorAnswer) -> ErrorAnswer:
    """Name what the database would not take, where that can be told."""
    try:
        raw = request.body
    except RawPostDataException:  # it was read as a stream
        raw = b""
    problems = unstorable_parts(request.path, request.GET, raw)
    return invalid_request(problems) if problems else answer


def json_error(answer: ErrorAnswer) -> JsonResponse:
    """Give the one error body of this API."""
    body: dict[str, Any] = {"error": answer.message}
    if answer.problems:
        body["problems"] = [problem._asdict() for problem in answer.problems]
    return JsonResponse(body, status=answer.status, headers=dict(answer.headers))


def install(api: NinjaAPI) -> None:
    """Let every failure of `api` go through the table, those ninja has its own answers for too."""
    for kind in (Exception, HttpError, AuthenticationError, ValidationError, Http404):
        api.add_exception_handler(kind, respond)


def problems_of(errors: list[dict[str, Any]], *, skip: int) -> tuple[Problem, ...]:
    """Name the fields of validation errors; `skip` leading parts of each place are no field."""
    return tuple(
        Problem(".".join(str(part) for part in error["loc"][skip:]) or "body", _sentence(error))
        for error in errors
    )


def invalid_request(problems: tuple[Problem, ...]) -> ErrorAnswer:
    """Give the answer to a request of a wrong shape; the text names the first field."""
    first = problems[0]
    return ErrorAnswer(400, f"{first.key}: {first.message}", problems)


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    """Answer a path that no route has."""
    return json_error(ErrorAnswer(404, "Not found"))


def page_failed(request: HttpRequest) -> JsonResponse:
    """Answer a failure outside every router."""
    return json_error(ErrorAnswer(500, "Something went wrong"))


def page_refused(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    """Answer a request that Django itself refuses."""
    return json_error(answer_for(exception or SuspiciousOperation()))


def _sentence(error: dict[str, Any]) -> str:
    own = _SENTENCES.get(error["type"])
    return own or str(error["msg"]).removeprefix("Value error, ")


def _stated(error: Exception) -> ErrorAnswer:
    return cast("ApiError", error).answer


def _invalid(error: Exception) -> ErrorAnswer:
    return ErrorAnswer(400, str(error), cast("Invalid", error).problems)


def _unreadable(error: Exception) -> ErrorAnswer:
    status, message = cast("HttpError", error).status_code, str(error)
    return ErrorAnswer(status, "Invalid JSON" if message == _UNREADABLE_BODY else message)


def _wrong_shape(error: Exception) -> ErrorAnswer:
    errors = cast("ValidationError", error).errors
    if errors[0]["loc"][0] == "body" and len(errors[0]["loc"]) <= 2:  # noqa: PLR2004
        if errors[0]["type"] == "missing":
            return ErrorAnswer(400, "Request body is empty")
        return ErrorAnswer(400, "The request body is not a JSON object")
    skip = 2 if errors[0]["loc"][0] == "body" else 1
    return invalid_request(problems_of(errors, skip=skip))


def _says(status: int, *, headers: Mapping[str, str] | None = None) -> Row:
    return lambda error: ErrorAnswer(status, str(error), (), headers or {})


def _fixed(status: int, message: str) -> Row:
    answer = ErrorAnswer(status, message)
    return lambda _error: answer


Row = Callable[[Exception], ErrorAnswer]

TABLE: Final[dict[type[BaseException], Row]] = {
    ApiError: _stated,
    # shape
    Invalid: _invalid,
    ValidationError: _wrong_shape,
    HttpError: _unreadable,
    RequestDataTooBig: _fixed(413, "Request body too large"),
    TooLarge: _says(413),
    SuspiciousOperation: _fixed(400, "The request is malformed"),
    DataError: _fixed(400, "The request holds a value that cannot be stored"),  # NUL, surrogates
    # credential
    AuthenticationError: _fixed(401, "Invalid or Missing API key"),
    # thing
    NotFound: _says(404),
    Http404: _fixed(404, "Not found"),
    Conflict: _says(409, headers=NO_RETRY),
    Refused: _says(422),
    # dependencies; a lost connection, a full pool, a deadlock: repeating may help
    OperationalError: _fixed(503, "The database is not available, please try again"),
    InterfaceError: _fixed(503, "The database is not available, please try again"),
    TooManyWaiting: _says(503, headers=WAIT_A_WHILE),
    RedisConnectionError: _fixed(503, "A dependency is not available, please try again"),
}
