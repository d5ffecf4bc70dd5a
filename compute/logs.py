"""Log lines without Django: one JSON object a line on standard error, and no secrets in it."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

SECRET = re.compile(
    r"tr_(?:wgt|pat|dev|stg|preview|prod)_[A-Za-z0-9]+"
    r"|(?i:bearer)\s+[^\s\"']+"
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]+"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
)
MAX_TEXT = 4096  # characters of one value; a workload's last words are longer than a line needs


def redact_text(text: str) -> str:
    """Give the text with everything that looks like a credential replaced by `[redacted]`."""
    return SECRET.sub("[redacted]", text)[:MAX_TEXT]


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    return {k: redact_text(v) if isinstance(v, str) else v for k, v in event.items()}


def configure_logs(*, process: str, debug: bool = False) -> None:
    """Send every log line, also those of libraries from WARNING up, to standard error as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _with_process(process),
        structlog.processors.format_exc_info,
        _redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if debug else logging.INFO
        ),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _with_process(process: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        event["process"] = process
        return event

    return add
