"""All settings, typed, from `lormas.env`. Unsafe production settings are refused by `lormas.checks`."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from csp.constants import NONCE, SELF
from django.utils.translation import gettext_lazy as _

from lormas import __version__
from lormas.common.crypto import derive_key, load_or_make_secret
from lormas.env import Env
from lormas.logconfig import structlog_config

env = Env()
VERSION = __version__
BASE_DIR = Path(__file__).resolve().parent.parent
TESTING = "pytest" in sys.modules

DATA_DIR: Path = env["LORMAS_DATA"] if env["LORMAS_DATA"].is_absolute() else BASE_DIR / env["LORMAS_DATA"]
DATA_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)

DEBUG: bool = env["DEBUG"]
HOST: str = env["HOST"]
PORT: int = env["PORT"]
PUBLIC_URL: str = env["PUBLIC_URL"] or f"http://{'127.0.0.1' if HOST in ('0.0.0.0', '::') else HOST}:{PORT}"  # noqa: S104
_public = urlsplit(PUBLIC_URL)
SECURE = _public.scheme == "https"
LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS = [h for h in dict.fromkeys([_public.hostname or "", *LOCAL_HOSTS, *env["ALLOWED_HOSTS"]]) if h] + (["testserver"] if TESTING else [])
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if "://" in PUBLIC_URL else []

# ---- secrets: one root key; each use has its own derived key, so that no token of one kind passes as another
SECRET_KEY: str = env["SECRET_KEY"] or load_or_make_secret(DATA_DIR / "secret_key")
JWT_USER_KEY: str = env["JWT_SECRET"] or derive_key(SECRET_KEY, "jwt-user")
SECRET_KEY_FALLBACKS: list[str] = env["SECRET_KEY_FALLBACKS"]
JWT_AGENT_KEY: str = derive_key(SECRET_KEY, "jwt-agent")
JWT_AGENT_FALLBACK_KEYS: list[str] = [derive_key(key, "jwt-agent") for key in SECRET_KEY_FALLBACKS]
JWT_TICKET_KEY: str = derive_key(SECRET_KEY, "jwt-ticket")
FIELD_KEYS: list[str] = env["FIELD_KEYS"] or [derive_key(key, "fields") for key in (SECRET_KEY, *SECRET_KEY_FALLBACKS)]
JWT_ACCESS_SECONDS: int = env["JWT_ACCESS_SECONDS"]
JWT_REFRESH_SECONDS: int = env["JWT_REFRESH_SECONDS"]

INSTALLED_APPS = [
    "lormas",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.github",
    "allauth.socialaccount.providers.discord",
    "allauth.mfa",
    "guardian",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "corsheaders",
    "csp",
    "django_htmx",
    "django_celery_beat",
    "django_structlog",
    "lucide",
    "audit",
    "accounts",
    "nodes",
    "eggs",
    "containers",
    "reservations",
    "billing",
]

MIDDLEWARE = [
    "lormas.common.middleware.RequestIdMiddleware",
    "lormas.common.middleware.ApiMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.StandingMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "audit.middleware.DenialMiddleware",
    "accounts.middleware.ImpersonationMiddleware",
    "lormas.common.pages.ProblemPages",
    "audit.idempotency.IdempotencyMiddleware",
]
APPEND_SLASH = False  # both spellings are routed; a redirect would lose a POST body

ROOT_URLCONF = "lormas.urls"
ASGI_APPLICATION = "lormas.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "lormas.common.context.console",
                "lormas.console.context.frame",
            ],
        },
    },
]


def _database() -> dict[str, Any]:
    address: str | None = env["DATABASE_URL"]
    if address and not address.startswith("sqlite"):
        parts = urlsplit(address)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": str(parts.port or ""),
            # Under ASGI a persistent connection belongs to a thread that may never run again; psycopg's pool is the answer.
            "CONN_MAX_AGE": 0,
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": {"connect_timeout": 5, **({} if TESTING else {"pool": {"min_size": 1, "max_size": 16, "timeout": 10}})},
        }
    file = Path(urlsplit(address).path) if address else (env["DB_PATH"] or DATA_DIR / "lormas.sqlite3")
    return {
        "ENGINE": "lormas.common.sqlite3",
        "NAME": str(file),
        # A new connection reads the whole schema (2 ms): threads that are used again keep theirs. Tests put files in each other's place.
        "CONN_MAX_AGE": 0 if TESTING else 300,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            # The file is read through the map; what a connection keeps of its own is what was written last, times some twenty threads.
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;"
                " PRAGMA mmap_size=134217728; PRAGMA cache_size=-2000; PRAGMA journal_size_limit=67108864;"
            ),
        },
        "TEST": {"NAME": str(DATA_DIR / "test.sqlite3")},
    }


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL: str = env["REDIS_URL"] or f"unix://{DATA_DIR / 'redis.sock'}"
CHANNEL_LAYERS = {
    "default": {
        # PubSub, not core: the core layer drops bursts silently. socket_timeout None: an idle receiver must live.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None}], "prefix": "lormas:layer"},
    }
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "lormas",
        "OPTIONS": {"socket_connect_timeout": 2, "socket_timeout": 5},
    }
}

# ---- Celery: a row, a deadline and a sweep carry every long job; Celery only makes them start sooner
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://") if REDIS_URL.startswith("unix://") else REDIS_URL
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_TIME_LIMIT = 900
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 600,
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.2,
}
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"

# ---- people
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "accounts.backends.EmailOrUsernameBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
    "accounts.backends.GrantBackend",
]
ANONYMOUS_USER_NAME = None
GUARDIAN_MONKEY_PATCH_USER = False
PASSWORD_HASHERS = (
    ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if TESTING
    else ["django.contrib.auth.hashers.Argon2PasswordHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
)
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login"
ACCOUNT_LOGIN_METHODS = {"email", "username"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "username", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # accounts.addresses does it
ACCOUNT_USER_MODEL_USERNAME_FIELD = "username"
ACCOUNT_RATE_LIMITS = False  # accounts.limits counts, in one place for pages and API
SOCIALACCOUNT_ADAPTER = "accounts.social.adapters.SocialAdapter"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_REQUESTS_TIMEOUT = 5
SOCIAL_PROVIDERS = {name: bool(env[f"{name.upper()}_CLIENT_ID"] and env[f"{name.upper()}_CLIENT_SECRET"]) for name in ("github", "discord")}
SOCIAL_ORIGINS = {"github": env["GITHUB_URL"] or "https://github.com", "discord": "https://discord.com"}
SOCIALACCOUNT_PROVIDERS: dict[str, dict[str, Any]] = {
    name: {
        "APPS": [{"client_id": env[f"{name.upper()}_CLIENT_ID"], "secret": env[f"{name.upper()}_CLIENT_SECRET"]}] if configured else [],
        "OAUTH_PKCE_ENABLED": True,
        **({"GITHUB_URL": env["GITHUB_URL"]} if name == "github" and env["GITHUB_URL"] else {}),
    }
    for name, configured in SOCIAL_PROVIDERS.items()
}
MFA_ADAPTER = "accounts.adapters.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_RECOVERY_CODE_DIGITS = 10
SECOND_FACTOR: str = env["SECOND_FACTOR"]
CONFIRM_SECONDS: int = env["CONFIRM_SECONDS"]
SIGNUP_ENABLED: bool = env["SIGNUP_ENABLED"]
SIGNUP_ROLE: str = env["SIGNUP_ROLE"]
SUPERUSER_EMAIL: str = env["SUPERUSER_EMAIL"] or "admin@lormas.local"
SUPERUSER_PASSWORD: str | None = env["SUPERUSER_PASSWORD"]

SESSION_ENGINE = "accounts.sessionstore"
SESSION_COOKIE_NAME = "__Host-lormas" if SECURE else "lormas_session"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = JWT_REFRESH_SECONDS
CSRF_COOKIE_NAME = "__Host-lormas-csrf" if SECURE else "lormas_csrf"
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE
SECURE_SSL_REDIRECT = False  # the proxy that ends TLS redirects
SILENCED_SYSTEM_CHECKS = ["security.W008", "guardian.W001"]  # they ask for the redirect above; for guardian's backend, which knows no end of a grant
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
TRUSTED_PROXIES: list[str] = env["TRUSTED_PROXIES"]
CORS_ALLOWED_ORIGINS: list[str] = env["CORS_ORIGINS"]
CORS_URLS_REGEX = r"^/api/.*$"
CORS_ALLOW_CREDENTIALS = False  # other origins call with a token; our cookie is not theirs to send
CORS_ALLOW_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "range", "x-request-id"]
CORS_EXPOSE_HEADERS = [
    "content-disposition", "etag", "location", "retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-request-id",
]  # fmt: skip
CORS_PREFLIGHT_MAX_AGE = 600

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        # 'unsafe-inline' only for style *attributes*: uPlot, xterm and popper set element.style
        "style-src": [SELF, NONCE],
        "style-src-attr": ["'unsafe-inline'"],
        "img-src": [SELF, "data:"],
        "font-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        # browsers hold redirects of a form to this, too: the sign-in buttons of providers
        "form-action": [SELF, *(origin for name, origin in SOCIAL_ORIGINS.items() if SOCIAL_PROVIDERS[name])],
        "frame-ancestors": ["'none'"],
    }
}

# ---- API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.BearerAuthentication", "accounts.authentication.ConsoleSessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["lormas.common.api.renderers.ApiRenderer", "lormas.common.api.renderers.BrowsableRenderer"],
    "DEFAULT_PARSER_CLASSES": ["lormas.common.api.parsers.ApiParser"],
    "DEFAULT_PAGINATION_CLASS": "lormas.common.api.pagination.Pages",
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "lormas.common.api.filters.Search",
        "lormas.common.api.filters.Ordering",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["lormas.common.api.throttling.ApiThrottle"],
    "DEFAULT_SCHEMA_CLASS": "lormas.common.api.schema.ApiSchema",
    "URL_FORMAT_OVERRIDE": None,  # `?format=` belongs to the views (exports)
    "EXCEPTION_HANDLER": "lormas.common.api.exceptions.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
RATE_LIMIT_PREFIX = "lormas:rate"
RATE_LIMITS: dict[str, tuple[int, int]] = {
    # name: (how many, in how many seconds)
    "anonymous": env["RATE_LIMIT_ANONYMOUS"],
    "person": env["RATE_LIMIT_PERSON"],
    "sign_in_account": env["RATE_LIMIT_SIGN_IN_ACCOUNT"],
    "sign_in_address": env["RATE_LIMIT_SIGN_IN_ADDRESS"],
    "sign_up_address": env["RATE_LIMIT_SIGN_UP"],
    "mail_address": env["RATE_LIMIT_MAIL_ADDRESS"],
    "mail_account": env["RATE_LIMIT_MAIL_ACCOUNT"],
    "api_key_address": env["RATE_LIMIT_API_KEY"],  # wrong ones only
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Lormas",
    "VERSION": VERSION,
    "DESCRIPTION": "Containers on many machines.",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": r"/api",
    "PREPROCESSING_HOOKS": ["lormas.common.api.schema.only_the_plain_dialect"],
    "POSTPROCESSING_HOOKS": [],  # enums stay in place: components of their own collide by name
}

# ---- the domain's own
CONTAINER_CPU_LIMIT: float = env["CONTAINER_CPU_LIMIT"]
CPU_OVERCOMMIT: float = env["CPU_OVERCOMMIT"]
CONTAINER_MEMORY_LIMIT: int = env["CONTAINER_MEMORY_LIMIT"]
CONTAINER_DISK_LIMIT: int = env["CONTAINER_DISK_LIMIT"]
MAX_SESSIONS: int = env["MAX_SESSIONS"]
INSTALL_TIMEOUT_SECONDS: int = env["INSTALL_TIMEOUT_SECONDS"]
TRASH_SECONDS: int = env["TRASH_SECONDS"]
BACKUP_KEEP: int = env["BACKUP_KEEP"]
BACKUP_LIMIT: int = env["BACKUP_LIMIT"]
BACKUP_BYTES: int = env["BACKUP_BYTES"]
BACKUPS_AT_ONCE: int = env["BACKUPS_AT_ONCE"]
BACKUP_SECONDS: int = env["BACKUP_SECONDS"]
TERMINAL_RECORDING: bool = env["TERMINAL_RECORDING"]
NODE_NOT_READY_SECONDS: float = env["NODE_NOT_READY_SECONDS"]
NODE_INACTIVE_SECONDS: float = env["NODE_INACTIVE_SECONDS"]
COPY_BYTES_PER_SECOND: int = env["COPY_BYTES_PER_SECOND"]
FAILOVER_AFTER_SECONDS: float = env["FAILOVER_AFTER_SECONDS"]
ORPHAN_GRACE_SECONDS: int = env["ORPHAN_GRACE_SECONDS"]
PORT_RANGE: str = env["PORT_RANGE"]
NODE_HEARTBEAT_SECONDS = 10.0
NODE_STATS_SECONDS = 5.0
RESERVATION_MAX_MACHINES: int = env["RESERVATION_MAX_MACHINES"]
RESERVATION_MAX_OPEN: int = env["RESERVATION_MAX_OPEN"]
RESERVATION_MAX_MINUTES: int = env["RESERVATION_MAX_MINUTES"]
RESERVATION_MAX_DAYS_AHEAD: int = env["RESERVATION_MAX_DAYS_AHEAD"]
RESERVATION_REMINDER_MINUTES: int = env["RESERVATION_REMINDER_MINUTES"]
RESERVATION_HANDS: str = env["RESERVATION_HANDS"]
MACHINE_CHECK_SECONDS: int = env["MACHINE_CHECK_SECONDS"]
DEMO: bool = env["LORMAS_DEMO"]
SESSION_IDLE_TIMEOUT: int = env["SESSION_IDLE_TIMEOUT"]
IDLE_NETWORK_BYTES: int = env["IDLE_NETWORK_BYTES"]
AUDIT_RETENTION_DAYS: int = env["AUDIT_RETENTION_DAYS"]
USAGE_RETENTION_DAYS: int = env["USAGE_RETENTION_DAYS"]
METRICS_TOKEN: str | None = env["METRICS_TOKEN"]

# ---- files, words, mail, logs
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [folder for folder in (BASE_DIR / "static",) if folder.is_dir()]  # made by the asset build in a fresh clone
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
MEDIA_ROOT = DATA_DIR / "media"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("id", _("Indonesian"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env["EMAIL_FROM"]
_mail = urlsplit(env["EMAIL_URL"])
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend" if _mail.scheme.startswith("smtp") else "django.core.mail.backends.console.EmailBackend"
EMAIL_HOST = _mail.hostname or "localhost"
EMAIL_PORT = _mail.port or {"smtp+tls": 587, "smtps": 465}.get(_mail.scheme, 25)
EMAIL_HOST_USER = unquote(_mail.username or "")
EMAIL_HOST_PASSWORD = unquote(_mail.password or "")
EMAIL_USE_TLS = _mail.scheme == "smtp+tls"
EMAIL_USE_SSL = _mail.scheme == "smtps"
EMAIL_TIMEOUT = 10
EMAIL_VERIFICATION: bool = env["EMAIL_VERIFICATION"] == "required" or (env["EMAIL_VERIFICATION"] == "auto" and _mail.scheme.startswith("smtp"))
PASSWORD_RESET_TIMEOUT = 3600

LOG_LEVEL: str = env["LOG_LEVEL"]
LOG_RETENTION_DAYS: int = env["LOG_RETENTION_DAYS"]
SYSTEM_LOG: Path | None = DATA_DIR / "logs" / "system.log" if env["LOG_FILE"] else None
LOGGING = structlog_config(level=LOG_LEVEL, style=env["LOG_FORMAT"], file=SYSTEM_LOG)
DJANGO_STRUCTLOG_CELERY_ENABLED = True

DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
ACCESS_TOKEN_LIFETIME = timedelta(seconds=JWT_ACCESS_SECONDS)
REFRESH_TOKEN_LIFETIME = timedelta(seconds=JWT_REFRESH_SECONDS)
