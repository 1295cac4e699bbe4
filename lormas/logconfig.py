"""Structured logs: JSON lines for machines, colours for a terminal; one level switch (`LOG_LEVEL`)."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import structlog

TRACE = 5
LEVELS = {"trace": TRACE, "debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
SECRET_KEYS = frozenset({"password", "token", "secret", "authorization", "access", "refresh", "private_key", "api_key", "cookie"})

MAILED_LINK = re.compile(r"""(/(?:verify|password/reset|settings/email|invite|invites|invitations|join)/)[^/\s?"'<>]{20,}""")

QUERY_SECRET = re.compile(r"""([?&](?:[a-z_]*password|token|access_token|secret|api_key|key)=)[^&\s"'<>]+""", re.IGNORECASE)


def mask_secrets(_logger: Any, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Values under telling names never reach a log."""
    for key in event:
        if key.lower() in SECRET_KEYS:
            event[key] = "***"
    return event


def mask_links(_logger: Any, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Paths of mailed links open an account to whoever has them: their last part never reaches a log, nor does a secret in a query (the older
    interface takes a reservation's password there)."""
    for key, value in event.items():
        if isinstance(value, str) and "/" in value:
            event[key] = QUERY_SECRET.sub(r"\1***", MAILED_LINK.sub(r"\1***", value))
    return event


def structlog_config(*, level: str, style: str, file: Path | None = None) -> dict[str, Any]:
    """Configure structlog and give the `LOGGING` dict that routes the standard library through it. `file`: JSON lines go there too, if its folder
    is there and can be written (it is opened anew when it was moved: see `lormas.systemlog`)."""
    logging.addLevelName(TRACE, "TRACE")
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask_secrets,
        mask_links,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    root = LEVELS[level]
    handlers: dict[str, Any] = {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}}
    if file is not None and os.access(file.parent, os.W_OK):
        handlers["file"] = {
            "class": "logging.handlers.WatchedFileHandler", "filename": str(file), "delay": True, "encoding": "utf-8", "formatter": "lines",
        }  # fmt: skip
    plain = {"()": structlog.stdlib.ProcessorFormatter, "processor": structlog.processors.JSONRenderer(), "foreign_pre_chain": shared}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": {"()": structlog.stdlib.ProcessorFormatter, "processor": renderer, "foreign_pre_chain": shared}, "lines": plain},
        "handlers": handlers,
        "root": {"handlers": list(handlers), "level": root},
        "loggers": {
            "django.server": {"level": "WARNING"},
            "daphne": {"level": "WARNING"},
            "asyncio": {"level": "WARNING"},
            "asyncssh": {"level": "WARNING"},  # below, it tells every command
            "amqp": {"level": "WARNING"},
            "kombu": {"level": "WARNING"},
            "celery": {"level": max(root, logging.INFO)},
            "django.db.backends": {"level": root if level == "trace" else logging.WARNING},
        },
    }
