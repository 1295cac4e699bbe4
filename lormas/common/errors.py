"""Domain errors: what services and access doors raise; the API turns them into problem+json, pages into sentences."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lormas.common.ratelimit import Verdict


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong. `field` is a path such as `ports.0.host`."""

    field: str
    message: str
    code: str = "invalid"


class Problem(Exception):
    """Base: `status` HTTP code, `code` stable for programs, `detail` a sentence for a person (what, why, what to do)."""

    status = 400
    code = "bad_request"
    title = "Bad request"
    verdict: Verdict | None = None
    """Of the limit that counted this try; the answer's `X-RateLimit-*` say it."""

    def __init__(self, detail: str, *, code: str | None = None, errors: list[FieldError] | None = None, extra: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.errors = errors or []
        self.extra = extra or {}


class Invalid(Problem):
    """400: malformed."""

    status, code, title = 400, "invalid", "Invalid input"


class NotSignedIn(Problem):
    """401."""

    status, code, title = 401, "not_signed_in", "Not signed in"


FORBIDDEN: Final[ContextVar[list[str] | None]] = ContextVar("forbidden", default=None)
"""Where a request put a list, what each `Forbidden` made during it said: a page may show a refusal above its form with a status of its own, and the
journal must learn of it all the same (`audit.middleware`)."""


class Forbidden(Problem):
    """403: seen but not allowed."""

    status, code, title = 403, "forbidden", "Not allowed"

    def __init__(self, detail: str, *, code: str | None = None, errors: list[FieldError] | None = None, extra: dict[str, Any] | None = None) -> None:
        super().__init__(detail, code=code, errors=errors, extra=extra)
        said = FORBIDDEN.get()
        if said is not None:
            said.append(detail)


class NotFound(Problem):
    """404: unknown, or not visible to you (never tells which)."""

    status, code, title = 404, "not_found", "Not found"


class Conflict(Problem):
    """409: the state does not allow it; `extra` says which state and what is allowed."""

    status, code, title = 409, "conflict", "State conflict"


class PreconditionFailed(Problem):
    """412."""

    status, code, title = 412, "precondition_failed", "Changed in the meantime"


class TooLarge(Problem):
    """413."""

    status, code, title = 413, "too_large", "Too large"


class Refused(Problem):
    """422: valid shape, refused by a rule."""

    status, code, title = 422, "refused", "Refused by a rule"


class Locked(Problem):
    """423: an operation runs; `extra["operation"]` is its id."""

    status, code, title = 423, "locked", "Locked by an operation"


class TooMany(Problem):
    """429: `extra["retry_after"]` seconds."""

    status, code, title = 429, "too_many_requests", "Too many requests"


class NodeUnavailable(Problem):
    """503: the node is offline; says since when."""

    status, code, title = 503, "node_offline", "Node offline"


class NodeSilent(Problem):
    """504: the node did not answer in time; the operation goes on."""

    status, code, title = 504, "node_timeout", "Node did not answer"
