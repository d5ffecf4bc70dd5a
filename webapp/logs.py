"""Logs as JSON lines: one object a line, `at`, `process`, `level`, `event`, then what was bound.

structlog and the standard library's logging meet in one formatter, so that a library's line looks
like ours. Nothing that looks like a credential is written.
"""

from __future__ import annotations

import logging
import logging.config
from typing import TYPE_CHECKING, Any

import structlog

from webapp.redaction import redact

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger


def logging_config(*, log_file: str, process: str) -> None:
    """Send all logging of this process to one place as JSON lines.

    `log_file` is a path, "" means standard error. `process` is the name every line carries.
    """
    shared = _shared_processors(process)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(_standard_logging(log_file, shared))


def _shared_processors(process: str) -> list[Processor]:
    def name_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
        name_process,
    ]


def _hide_credentials(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: redact(value, key) for key, value in event.items()}


def _standard_logging(log_file: str, shared: list[Processor]) -> dict[str, Any]:
    if log_file:
        handler = {"class": "logging.handlers.WatchedFileHandler", "filename": log_file}
    else:
        handler = {"class": "logging.StreamHandler"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    _hide_credentials,
                    structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
                ],
            }
        },
        "handlers": {"lines": {**handler, "formatter": "json"}},
        "root": {"handlers": ["lines"], "level": "INFO"},
        "loggers": {
            # a refused request is the caller's mistake and is counted, not logged
            "django.request": {"level": "ERROR"},
            "httpx": {"level": "WARNING"},
            # each tick of each reconciler, otherwise: three lines a second of an idle stack
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
        },
    }
