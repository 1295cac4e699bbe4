"""The environment, typed: one table of variables, read once at start.

Each variable can also be given as `NAME_FILE` (a path whose content is the value, for secret mounts), under its aliases, or in a `.env`
file of the working folder (the real environment wins). A wrong value raises `EnvError` with one sentence that says what to do.
`docs/operations/settings.md` is generated from `VARIABLES` (`python manage.py settings_table`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class EnvError(ValueError):
    """A variable's value can't be used; the text is for the person who set it."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting from the environment. `default` None = unset."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    aliases: tuple[str, ...] = ()
    secret: bool = False


def text(value: str) -> str:
    return value


def boolean(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    raise EnvError("must be true or false")


def integer(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise EnvError(f"must be a whole number from {minimum} to {maximum}") from None
        if not minimum <= number <= maximum:
            raise EnvError(f"must be a whole number from {minimum} to {maximum}")
        return number

    return parse


def number(minimum: float, maximum: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            parsed = float(value)
        except ValueError:
            raise EnvError(f"must be a number from {minimum:g} to {maximum:g}") from None
        if not minimum <= parsed <= maximum:
            raise EnvError(f"must be a number from {minimum:g} to {maximum:g}")
        return parsed

    return parse


def size(value: str) -> int:
    """Bytes: `536870912`, `512m`, `2g` (powers of 1024)."""
    cleaned = value.strip().lower().removesuffix("ib").removesuffix("b")
    factor = {"k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}.get(cleaned[-1:], 1)
    digits = cleaned[:-1] if factor > 1 else cleaned
    try:
        parsed = float(digits)
    except ValueError:
        raise EnvError("must be a size such as 512m or 2g") from None
    if parsed < 0:
        raise EnvError("must not be negative")
    return int(parsed * factor)


def choice(*options: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in options:
            raise EnvError(f"must be one of {', '.join(options)}")
        return value.lower()

    return parse


def words(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def path(value: str) -> Path:
    return Path(value).expanduser().absolute()


def url(*schemes: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        split = urlsplit(value)
        if split.scheme not in schemes:
            raise EnvError(f"must be an address that begins with {' or '.join(s + '://' for s in schemes)}")
        try:
            split.port  # noqa: B018 - its getter judges
        except ValueError:
            raise EnvError("must have a port from 0 to 65535, or none") from None
        return value.rstrip("/")

    return parse


def email(value: str) -> str:
    local, at, domain = value.strip().partition("@")
    if not (local and at and "." in domain) or any(c.isspace() for c in value.strip()):
        raise EnvError("must be an e-mail address")
    return value.strip().lower()


def rate(value: str) -> tuple[int, int]:
    """How many in how many seconds: `100/15m`, `20/900`, `5/h`."""
    count, slash, window = value.strip().lower().partition("/")
    factor = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(window[-1:], 0)
    digits = window[:-1] if factor else window
    if not (slash and count.isdigit() and (digits.isdigit() or (factor and not digits))):
        raise EnvError("must be a count and a time such as 100/15m or 20/900")
    seconds = int(digits or 1) * (factor or 1)
    if not (1 <= int(count) <= 1_000_000 and 1 <= seconds <= 2_592_000):
        raise EnvError("must be 1 to 1000000 in 1 second to 30 days, such as 100/15m")
    return int(count), seconds


LOG_LEVELS = ("trace", "debug", "info", "warn", "error")

VARIABLES: tuple[Variable, ...] = (
    Variable("HOST", text, "127.0.0.1", "Address the panel listens on; 0.0.0.0 = all."),
    Variable("PORT", integer(1, 65535), 8000, "Port the panel listens on."),
    Variable("PUBLIC_URL", url("http", "https"), None, "Address under which people and agents reach the panel; unset: http://HOST:PORT."),
    Variable("LORMAS_DATA", path, Path("data"), "Folder for the database, keys, logs and what the local agent keeps."),
    Variable("DATABASE_URL", url("sqlite", "postgres", "postgresql"), None, "PostgreSQL or SQLite; unset: SQLite in LORMAS_DATA.", secret=True),
    Variable("DB_PATH", path, None, "Path of the SQLite file, where DATABASE_URL is unset."),
    Variable("REDIS_URL", url("redis", "rediss", "unix"), None, "Redis or Valkey; unset: an embedded server.", secret=True),
    Variable("SECRET_KEY", text, None, "Signs sessions and tokens; unset: made and kept in LORMAS_DATA.", ("BETTER_AUTH_SECRET",), secret=True),
    Variable(
        "SECRET_KEY_FALLBACKS",
        words,
        [],
        "Former SECRET_KEYs, newest first: what they encrypted stays readable, agents and browser sessions stay signed in.",
        secret=True,
    ),
    Variable("FIELD_KEYS", words, [], "Keys for encrypted columns, newest first; unset: derived from SECRET_KEY.", secret=True),
    Variable("JWT_SECRET", text, None, "Key for people's tokens; unset: derived from SECRET_KEY.", secret=True),
    Variable("JWT_ACCESS_SECONDS", integer(60, 86400), 900, "How long an access token lives."),
    Variable("JWT_REFRESH_SECONDS", integer(3600, 31_536_000), 1_209_600, "How long a refresh token lives."),
    Variable("DEBUG", boolean, False, "Development mode: tracebacks in the browser. Never on a public address."),
    Variable("ALLOWED_HOSTS", words, [], "Host names that the panel answers to, beside that of PUBLIC_URL and localhost."),
    Variable("TRUSTED_PROXIES", words, [], "Addresses or networks of reverse proxies whose X-Forwarded-For is believed."),
    Variable("CORS_ORIGINS", words, [], "Origins that may call the API from a browser."),
    Variable("LOG_LEVEL", choice(*LOG_LEVELS), "info", "trace, debug, info, warn or error."),
    Variable("LOG_FILE", boolean, True, "Keep logs/system.log in LORMAS_DATA, rotated each night? (Beside what goes to standard error.)"),
    Variable(
        "LOG_RETENTION_DAYS",
        integer(0, 3650),
        30,
        "How long nodes keep containers' logs, also of deleted ones. 0: a log goes with its container, and no line for its age.",
    ),
    Variable("LOG_FORMAT", choice("auto", "json", "console"), "auto", "json, console, or auto (console on a terminal)."),
    Variable("SUPERUSER_EMAIL", email, None, "Made at first start; unset: admin@lormas.local.", ("ADMIN_DEFAULT_USERNAME",)),
    Variable("SUPERUSER_PASSWORD", text, None, "Unset: a random one, shown once.", ("ADMIN_DEFAULT_PASSWORD",), secret=True),
    Variable("SIGNUP_ENABLED", boolean, True, "May people make accounts for themselves?"),
    Variable("SIGNUP_ROLE", text, "member", "Role of those who sign up."),
    Variable(
        "EMAIL_VERIFICATION",
        choice("auto", "off", "required"),
        "auto",
        "Must people who sign up prove their address? auto: where mail goes out by SMTP.",
    ),
    Variable(
        "SECOND_FACTOR", choice("none", "administrators", "everyone"), "none", "Who must have a second factor (TOTP or passkey) to do anything."
    ),
    Variable("CONFIRM_SECONDS", integer(60, 86_400), 900, "How long after showing the password or a second factor credentials may be changed."),
    Variable("GITHUB_URL", url("http", "https"), None, "A GitHub Enterprise server; unset: github.com."),
    Variable("GITHUB_CLIENT_ID", text, None, "GitHub sign-in."),
    Variable("GITHUB_CLIENT_SECRET", text, None, "GitHub sign-in.", secret=True),
    Variable("DISCORD_CLIENT_ID", text, None, "Discord sign-in."),
    Variable("DISCORD_CLIENT_SECRET", text, None, "Discord sign-in.", secret=True),
    Variable(
        "EMAIL_URL",
        url("console", "smtp", "smtp+tls", "smtps"),
        "console://",
        "console://, or smtp://user:password@host:port; smtp+tls:// for STARTTLS, smtps:// for TLS from the start.",
        secret=True,
    ),
    Variable("EMAIL_FROM", text, "Lormas <noreply@lormas.local>", "Sender of the panel's mail."),
    Variable("RATE_LIMIT_ANONYMOUS", rate, (100, 900), "API requests of an address that is not signed in."),
    Variable("RATE_LIMIT_PERSON", rate, (6000, 60), "API requests of a signed-in person."),
    Variable("RATE_LIMIT_SIGN_IN_ACCOUNT", rate, (20, 900), "Wrong passwords or codes for one account, from wherever."),
    Variable("RATE_LIMIT_SIGN_IN_ADDRESS", rate, (60, 900), "Wrong passwords or codes from one address, for whatever account."),
    Variable("RATE_LIMIT_SIGN_UP", rate, (20, 3600), "New accounts from one address."),
    Variable("RATE_LIMIT_MAIL_ADDRESS", rate, (20, 3600), "Mails (reset, confirmation) asked for from one address."),
    Variable("RATE_LIMIT_MAIL_ACCOUNT", rate, (5, 3600), "Mails asked for to one mailbox."),
    Variable("RATE_LIMIT_API_KEY", rate, (60, 900), "Wrong API keys from one address."),
    Variable("DOCKER_HOST", text, None, "Engine of the local agent; unset: the default socket.", ("DOCKER_SOCKET_PATH",)),
    Variable("LORMAS_AGENT", boolean, True, "Start a local agent beside the panel."),
    Variable("LORMAS_AGENT_RUNTIME", choice("auto", "docker", "process"), "auto", "Runtime of the local agent; auto: docker if it answers."),
    Variable("LORMAS_DEMO", boolean, True, "Deploy the hello egg at first start."),
    Variable("PORT_RANGE", text, "25565-26564", "Host ports that a new node hands out, as FIRST-LAST."),
    Variable("CONTAINER_CPU_LIMIT", number(0.01, 1024), 1.0, "Cores of a container that names none."),
    Variable("CPU_OVERCOMMIT", number(1, 1000), 4.0, "How many times its cores a node without a cluster promises: cores are shared, memory is not."),
    Variable("CONTAINER_MEMORY_LIMIT", size, 512 * 1024**2, "Memory of a container that names none, such as 512m."),
    Variable("CONTAINER_DISK_LIMIT", size, 4 * 1024**3, "Disk of a container that names none, where its owner's disk has a quota; such as 4g."),
    Variable("PREVIEW_DOMAIN", text, None, "Domain under which previews get a name of their own."),
    Variable("SESSION_IDLE_TIMEOUT", integer(60, 31_536_000), 3600, "Seconds after which an idle session container stops."),
    Variable("IDLE_NETWORK_BYTES", size, 8192, "Bytes a minute that a container moves without counting as used; more is traffic."),
    Variable("MAX_SESSIONS", integer(1, 1_000_000), 50, "Session containers that may run at a time, over all people."),
    Variable("INSTALL_TIMEOUT_SECONDS", integer(1, 604_800), 3600, "How long an egg's install script may run before it is killed."),
    Variable("TRASH_SECONDS", integer(0, 31_536_000), 86_400, "How long a deleted container can be restored."),
    Variable("BACKUP_KEEP", integer(1, 1000), 7, "Good backups that a container keeps unless told otherwise; the oldest that is not locked goes."),
    Variable("BACKUP_LIMIT", integer(0, 10_000), 20, "Backups that a container may have, locked ones included; 0: none at all."),
    Variable("BACKUP_BYTES", size, 0, "What a container's backups may take together, such as 50g; 0: no limit."),
    Variable("BACKUPS_AT_ONCE", integer(1, 64), 2, "Backups, restores and checks that run at a time, over all workers; the others wait."),
    Variable("BACKUP_SECONDS", integer(60, 604_800), 21_600, "How long one backup or restore may take."),
    Variable("TERMINAL_RECORDING", boolean, False, "Record terminals of people and containers that no recording policy speaks of."),
    Variable("NODE_NOT_READY_SECONDS", number(20, 600), 25, "Silence after which a node is NOT_READY."),
    Variable("ORPHAN_GRACE_SECONDS", integer(900, 31_536_000), 86_400, "How long a container that nobody knows is reported before it is removed."),
    Variable("NODE_INACTIVE_SECONDS", number(20, 3600), 35, "Silence after which a node is INACTIVE."),
    Variable(
        "FAILOVER_AFTER_SECONDS",
        number(20, 86_400),
        600,
        "Silence after which containers of a lost node are made anew elsewhere, where its cluster wants that; its agent stops them after half of it.",
    ),
    Variable(
        "COPY_BYTES_PER_SECOND",
        integer(100_000, 10_000_000_000),
        30_000_000,
        "What the panel's links carry between nodes: assumed where a plan says how long a container will be away while it moves.",
    ),
    Variable("AUDIT_RETENTION_DAYS", integer(0, 36_500), 0, "How long the journal is kept, at least 7 days; 0: for ever."),
    Variable("USAGE_RETENTION_DAYS", integer(0, 36_500), 800, "How long the hours of usage are kept, also of deleted containers; 0: for ever."),
    Variable(
        "RESERVATION_MAX_MACHINES", integer(1, 10_000), 20, "Machines a person may hold or have booked at a time, unless a limit says otherwise."
    ),
    Variable("RESERVATION_MAX_OPEN", integer(1, 10_000), 60, "Reservations a person may have open at a time, waiting and repeated ones included."),
    Variable("RESERVATION_MAX_MINUTES", integer(1, 527_040), 10_080, "Longest reservation, extensions included."),
    Variable("RESERVATION_MAX_DAYS_AHEAD", integer(1, 3650), 90, "How far ahead a reservation may begin."),
    Variable("RESERVATION_REMINDER_MINUTES", integer(0, 1440), 15, "So long before its end a reservation's owner is reminded; 0 = never."),
    Variable(
        "RESERVATION_HANDS",
        choice("ssh", "ansible"),
        "ssh",
        "What makes and removes accounts on machines: ssh (asyncssh, built in), or ansible (lormas[ansible]; Python is needed on the machines).",
    ),
    Variable("MACHINE_CHECK_SECONDS", integer(10, 86_400), 60, "How often each machine of the pool is looked at."),
    Variable("METRICS_TOKEN", text, None, "Bearer token for /metrics; unset: administrators only.", secret=True),
)
_BY_NAME = {variable.name: variable for variable in VARIABLES}


def _dotenv(folder: Path) -> dict[str, str]:
    file = folder / ".env"
    found: dict[str, str] = {}
    if not file.is_file():
        return found
    for count, raw in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        line = raw.strip().removeprefix("export ")
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise EnvError(f".env line {count} is not NAME=value; correct or remove it.")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[name.strip()] = value
    return found


class Env:
    """The values of `VARIABLES` from a mapping; `env["PORT"]` is already of its type."""

    def __init__(self, source: Mapping[str, str] | None = None, *, folder: Path | None = None) -> None:
        real = dict(os.environ if source is None else source)
        self._source = {**_dotenv(folder or Path.cwd()), **real}

    def raw(self, variable: Variable) -> tuple[str, str] | None:
        """Name under which it is set, and the text; None if unset or empty."""
        for name in (variable.name, *variable.aliases):
            file = self._source.get(f"{name}_FILE")
            if file:
                try:
                    return f"{name}_FILE", Path(file).read_text(encoding="utf-8").strip()
                except OSError as error:
                    raise EnvError(f"{name}_FILE names {file}, which can't be read ({error.strerror}): give a readable file or unset it.") from None
            value = self._source.get(name)
            if value:
                return name, value
        return None

    def __getitem__(self, name: str) -> Any:
        variable = _BY_NAME[name]
        found = self.raw(variable)
        if found is None:
            return variable.default
        try:
            return variable.parse(found[1])
        except EnvError as error:
            shown = "the value given" if variable.secret else repr(found[1])
            raise EnvError(f"{found[0]} {error}, not {shown}: correct it in the environment or in .env, or unset it.") from None

    def check(self) -> None:
        """Read every variable, so that a wrong one is told before anything starts; raises EnvError."""
        for variable in VARIABLES:
            self[variable.name]
