"""All configuration, from the environment. Computes only: importing this starts nothing."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from marketplace import devdb, log_lines

BASE_DIR = Path(__file__).resolve().parent.parent
_environ = os.environ


def _flag(name: str, default: str = "") -> bool:
    return _environ.get(name, default).strip().lower() in {"1", "true", "yes", "on"}


def _rate(name: str, default: str) -> tuple[float, int] | None:
    """Read “A:B”: A a second, and B at once. Empty: none of development's, or 0: no limit."""
    text = _environ.get(name, "").strip() or ("0" if DEVELOPMENT else default)
    if text == "0":
        return None
    per_second, _colon, burst = text.partition(":")
    try:
        rate = float(per_second), int(burst)
    except ValueError:
        rate = 0.0, 0
    if not (0 < rate[0] < float("inf") and rate[1] >= 1):
        raise ImproperlyConfigured(f"{name} is “requests a second:requests at once”, or 0.")
    return rate


def _list(name: str, default: str) -> list[str]:
    return [part.strip() for part in _environ.get(name, default).split(",") if part.strip()]


# On this machine, to try it out: an embedded database, a simulated Stripe, fixed secrets.
DEVELOPMENT = _flag("LICET_DEBUG")
# Django's own debug pages stay off even then: every error is a problem document, everywhere.
DEBUG = False
DATA_DIR = Path(_environ.get("LICET_DATA_DIR", BASE_DIR / ".data")).resolve()


def _required(name: str, development: str) -> str:
    """A setting that production must name; development gets a fixed one."""
    value = _environ.get(name, "")
    if not value and not DEVELOPMENT:
        raise ImproperlyConfigured(
            f"Set {name}, or LICET_DEBUG=1 to try Licet out on this machine."
        )
    return value or development


SECRET_KEY = _required("LICET_SECRET_KEY", "development only: never a secret")
# Keys from before, divided by commas: what they signed and sealed still holds while one of them
# is replaced (`manage.py reseal_factors`, `manage.py reseal_webhooks`).
SECRET_KEY_FALLBACKS = _list("LICET_SECRET_KEY_FALLBACKS", "")
ALLOWED_HOSTS = _list("LICET_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1],testserver")
CSRF_TRUSTED_ORIGINS = _list("LICET_TRUSTED_ORIGINS", "")

# Where clients reach us: the API and pages, and the delivery process.
BASE_URL = _environ.get("LICET_BASE_URL", "http://127.0.0.1:8000").rstrip("/")
DELIVERY_URL = _environ.get("LICET_DELIVERY_URL", "http://127.0.0.1:8001").rstrip("/")
# "web" serves the API and pages; "delivery" serves works, so that slow downloads never hold an
# API thread.
PROCESS = _environ.get("LICET_PROCESS", "web")

INSTALLED_APPS = [
    "marketplace",
    "licensing",
    "payments",
    "api_docs",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    # Its templates stand in front of the admin's, and ours in front of both.
    "unfold.apps.BasicAppConfig",
    "marketplace.apps.OperatorAdminConfig",
    "guardian",
    "rest_framework",
    "drf_spectacular",
    # Not "allauth" itself: its own pages stay away, so that one of ours that is missing is noticed.
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
]

MIDDLEWARE = [
    "marketplace.page_policy.PagePolicy",
    "marketplace.request_log.RequestLog",
    # Before whatever asks for a host's name, TLS or a session: probes have none of them.
    "marketplace.probes.Probes",
    "marketplace.answers.Compression",
    "marketplace.answers.Conditional",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    # Before whoever reads a form.
    "marketplace.http.FormLimitMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "marketplace.page_middleware.People",
    "marketplace.page_middleware.Messages",
    # In whose language, time and formats all that follows answers.
    "marketplace.preferences.ViewerMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    # The one place that decides whether a session may go on: after all that it asks.
    "marketplace.sign_in_gate.SignInGate",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "marketplace.urls"
WSGI_APPLICATION = "marketplace.wsgi.application"
if PROCESS == "delivery":
    ROOT_URLCONF = "licensing.delivery_urls"
    MIDDLEWARE = [
        "marketplace.page_policy.PagePolicy",
        "marketplace.request_log.RequestLog",
        "marketplace.probes.Probes",
        "django.middleware.security.SecurityMiddleware",
        # allauth's apps do not start without it. Nobody signs in at this process.
        "allauth.account.middleware.AccountMiddleware",
    ]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- database ---------------------------------------------------------------------------------

# `licet_app` serves; manage.py sets `licet_owner` for the commands that change the schema.
DATABASE_ROLE = _environ.get("LICET_DATABASE_ROLE", "licet_app")
DEVDB = devdb.where(_environ, BASE_DIR)


def _database(url: str) -> dict[str, object]:
    """Read postgresql://user:password@host:port/name?host=/socket/dir (libpq's URI form)."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured("DATABASE_URL must begin with postgresql://.")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    # Walls make plans look dear that touch few rows: PostgreSQL would compile each of them first.
    start = f"-c role={DATABASE_ROLE} -c timezone=UTC -c jit=off"
    if DATABASE_ROLE == "licet_owner":
        # A migration that waits for a lock holds up everybody behind it.
        start += " -c lock_timeout=5s"
    options: dict[str, object] = {
        "options": start,
        # A pool and CONN_MAX_AGE exclude each other in Django; a connection for each request
        # would cost 9 to 12 ms of PostgreSQL's time.
        "pool": {"min_size": 0, "max_size": 16, "timeout": 10},
        # Statements that come again are prepared: planning under row-level security costs more
        # than running them. A pooler between us and PostgreSQL must know prepared statements.
        "server_side_binding": True,
        "prepare_threshold": 5,
    }
    host = query.pop("host", None) or parts.hostname or ""
    options.update(query)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "licet",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(host),
        "PORT": str(parts.port or ""),
        "OPTIONS": options,
    }


# How long a statement may take for somebody who waits for an answer: PostgreSQL ends it then. Only
# where `marketplace.wsgi` serves: what workers and commands do may take its time.
STATEMENT_SECONDS = int(_environ.get("LICET_STATEMENT_SECONDS", "60"))
DATABASES = {"default": _database(DEVDB.owner_url if DATABASE_ROLE == "licet_owner" else DEVDB.url)}

# --- people and keys --------------------------------------------------------------------------

AUTH_USER_MODEL = "marketplace.User"
AUTHENTICATION_BACKENDS = [
    "allauth.account.auth_backends.AuthenticationBackend",
    "guardian.backends.ObjectPermissionBackend",
]
# Object permissions go to known users only, through direct foreign-key models.
ANONYMOUS_USER_NAME = None
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Whether anybody may found an organization here, behind a mailed link.
SIGN_UP = _flag("LICET_SIGN_UP")
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BASE_URL.startswith("https://")
SESSION_COOKIE_HTTPONLY = True
# Not Strict: a mailed link, and the way back from an identity provider, come from elsewhere.
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
# Who does nothing for so long signs in again.
SESSION_COOKIE_AGE = int(float(_environ.get("LICET_SESSION_HOURS", "12")) * 3600)
# "required": a member without a second factor sets one up first; "offered": may do without.
SECOND_FACTOR = _environ.get("LICET_SECOND_FACTOR", "offered" if DEVELOPMENT else "required")
if SECOND_FACTOR not in {"required", "offered"}:
    raise ImproperlyConfigured("LICET_SECOND_FACTOR is “required” or “offered”.")
# How many proxies of ours stand before the server: sign-in is limited by the address of the client.
ALLAUTH_TRUSTED_PROXY_COUNT = int(_environ.get("LICET_TRUSTED_PROXIES", "0"))
# All processes must see the same counts of failed sign-ins and of codes that were used: each
# process's own memory would give every one of them fresh tries. The database is what they share;
# a few rows a sign-in need no server of their own. The room is so large that
# nobody pushes others' counts out by asking with many addresses.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "django_cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000, "CULL_FREQUENCY": 10},
    }
}
ACCOUNT_ADAPTER = "marketplace.sign_in.AccountAdapter"
ACCOUNT_FORMS = {"user_token": "marketplace.sign_in.UserTokenForm"}
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
# An invitation's or a sign-up's link proved the address: it stands in the account alone.
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_REAUTHENTICATION_METHODS = ("password", "mfa")
ACCOUNT_SESSION_REMEMBER = True
MFA_ADAPTER = "marketplace.sign_in.MfaAdapter"
MFA_SUPPORTED_TYPES = ["recovery_codes", "totp", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
# A phone's clock may be half a minute off.
MFA_TOTP_TOLERANCE = 1
SOCIALACCOUNT_ADAPTER = "marketplace.single_sign_on.SocialAdapter"
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10


def _providers(text: str) -> list[dict[str, Any]]:
    """Read LICET_OIDC: [{"id", "name", "server_url", "client_id", "client_secret", "domains"}].

    `client_secret` names the environment's variable that holds it. `domains`: of whose addresses
    the provider may speak. `sign_in_origin`, where its pages are elsewhere than `server_url`.
    """
    apps: list[dict[str, Any]] = []
    try:
        given = json.loads(text or "[]")
    except ValueError as error:
        raise ImproperlyConfigured(f"LICET_OIDC is no JSON: {error}.") from None
    for one in given:
        missing = {"id", "name", "server_url", "client_id", "client_secret", "domains"} - set(one)
        if missing:
            raise ImproperlyConfigured(f"LICET_OIDC lacks: {', '.join(sorted(missing))}.")
        if not re.fullmatch("[a-z0-9_-]{1,40}", one["id"]):
            raise ImproperlyConfigured("LICET_OIDC: an id is of a-z, 0-9, “-” and “_”.")
        if one["id"] in {app["provider_id"] for app in apps}:
            raise ImproperlyConfigured(f"LICET_OIDC names “{one['id']}” twice.")
        parts = urlsplit(one["server_url"])
        secret = _environ.get(one["client_secret"], "")
        if not secret:
            raise ImproperlyConfigured(f"LICET_OIDC: set {one['client_secret']}.")
        apps.append(
            {
                "provider_id": one["id"],
                "name": one["name"],
                "client_id": one["client_id"],
                "secret": secret,
                "settings": {
                    "server_url": one["server_url"].rstrip("/"),
                    "domains": [domain.lower() for domain in one["domains"]],
                    "origin": one.get("sign_in_origin", f"{parts.scheme}://{parts.netloc}"),
                    "oauth_pkce_enabled": True,
                },
            }
        )
    return apps


SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {
    "openid_connect": {"APPS": _providers(_environ.get("LICET_OIDC", ""))}
}
# The header by which the proxy in front says that a client came over TLS, such as
# X-Forwarded-Proto: it must set it on every request, whatever the client sent. With it, whoever
# comes in the open is sent on to https://, and browsers are told to come so from the beginning.
_TLS_HEADER = _environ.get("LICET_PROXY_TLS_HEADER", "").strip()
if _TLS_HEADER:
    SECURE_PROXY_SSL_HEADER = (f"HTTP_{_TLS_HEADER.upper().replace('-', '_')}", "https")
SECURE_SSL_REDIRECT = bool(_TLS_HEADER) and BASE_URL.startswith("https://")
# Of this host alone. Only whoever owns the domain can say what all its names serve.
SECURE_HSTS_SECONDS = int(
    _environ.get("LICET_HSTS_SECONDS", "") or (31_536_000 if SECURE_SSL_REDIRECT else 0)
)
SILENCED_SYSTEM_CHECKS = [
    # HSTS for subdomains, and browsers' preload lists: decisions about a whole domain, of which
    # this server has one name.
    "security.W005",
    "security.W021",
]
if PROCESS == "delivery":
    SILENCED_SYSTEM_CHECKS += [
        # It has no pages, cookies or forms: a frame would show nothing, and nobody is signed in.
        "security.W002",
        "security.W003",
        # The admin is installed with the models, and has no address here.
        "admin.E408",
        "admin.E409",
        "admin.E410",
    ]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "marketplace.http.csrf_refused"

# --- mail -------------------------------------------------------------------------------------

# Without a server, mails go to the console: in development that is where their links are read.
EMAIL_HOST = _environ.get("LICET_EMAIL_HOST", "")
EMAIL_PORT = int(_environ.get("LICET_EMAIL_PORT", "587"))
EMAIL_HOST_USER = _environ.get("LICET_EMAIL_USER", "")
EMAIL_HOST_PASSWORD = _environ.get("LICET_EMAIL_PASSWORD", "")
EMAIL_USE_TLS = EMAIL_PORT != 25
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = _environ.get("LICET_EMAIL_FROM", "Licet <licet@localhost>")
EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend"
    if EMAIL_HOST
    else "django.core.mail.backends.console.EmailBackend"
)

# --- words and times --------------------------------------------------------------------------

LANGUAGE_CODE = "en"
# Each in its own name.
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
USE_I18N = True
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
# What the pages of the guide show, beside the text that shows it.
STATICFILES_DIRS = [("api_docs/pictures", BASE_DIR / "api_docs" / "pictures")]
WHITENOISE_USE_FINDERS = True
# Development collects nothing: files are found where they stand.
WHITENOISE_AUTOREFRESH = DEVELOPMENT

# --- the workspace ----------------------------------------------------------------------------

# What Unfold's pages read. The menu: marketplace.tenant_site; colors: studio/colors.css.
UNFOLD = {
    "SITE_TITLE": "Licet",
    "SITE_HEADER": "Licet",
    "SITE_SYMBOL": "verified",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
}

# --- the API ----------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "marketplace.authentication.ApiKeyAuthentication",
        "marketplace.authentication.MemberSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["marketplace.authentication.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["marketplace.strict_requests.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "api_docs.schema.LicetSchema",
    "EXCEPTION_HANDLER": "marketplace.http.problem_response",
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": False,
}
# Of each key, or signed-in member: requests a second, and how many at once; of each address without
# a key; what a write costs of them; and {"org_…": 5}: organizations whose keys have so many times
# as much. In development there are none unless they are asked for.
RATE_KEY = _rate("LICET_RATE_KEY", "100:1000")
RATE_ADDRESS = _rate("LICET_RATE_ADDRESS", "10:100")
RATE_WRITE_COST = int(_environ.get("LICET_RATE_WRITE_COST", "5"))
RATE_PLANS: dict[str, float] = json.loads(_environ.get("LICET_RATE_PLANS", "{}"))
# Lists and rows as JSON that PostgreSQL writes, wherever their serializer can be said in SQL.
READPLAN = _flag("LICET_READPLAN", "on")
SPECTACULAR_SETTINGS = {
    "TITLE": "Licet",
    "DESCRIPTION": "The open-source marketplace server for AI-training licenses: list, license, "
    "prove.",
    "LICENSE": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "api_docs.document.finish",
    ],
    # Fields of several names hold a use.
    "ENUM_NAME_OVERRIDES": {
        "UseEnum": "licensing.vocabulary.USE_WORDS",
        "ByEnum": "licensing.models.OptOut.By",
        "GrantEventByEnum": "licensing.models.GrantEvent.By",
        "GrantEventEffectEnum": "licensing.models.GrantEvent.Effect",
        "OrderStatusEnum": "payments.models.Order.Status",
        "PendingReceiptStatusEnum": ["pending"],
        "InvoiceStatusEnum": "payments.models.Invoice.Status",
        "OrderMethodEnum": "payments.models.Order.Method",
        "PayByEnum": ["checkout", "invoice"],
        "UnitEnum": "licensing.serializers._UNITS",
        "RoyaltyMethodEnum": "payments.models.RoyaltyRule.Method",
        "EventTypeEnum": "marketplace.event_views.EVENT_TYPES",
        "WebhookDeliveryStateEnum": "marketplace.models.WebhookDelivery.State",
        "WebhookReplayStateEnum": "marketplace.event_views.REPLAYABLE",
        "RoyaltyUnitEnum": "payments.models.RoyaltyRule.UNITS",
    },
    "SCHEMA_PATH_PREFIX": "/v1",
    "WEBHOOKS": ["api_docs.webhooks.EVENT"],
}

# --- works and their delivery -----------------------------------------------------------------

STORAGE_DIR = Path(_environ.get("LICET_STORAGE_DIR", DATA_DIR / "works"))
# With a name, hosted works are in this S3-compatible bucket; STORAGE_DIR then holds only what is on
# its way there. Without keys, boto3 finds the machine's own (its role, or AWS_…).
STORAGE_BUCKET = {
    "name": _environ.get("LICET_STORAGE_BUCKET", ""),
    "endpoint": _environ.get("LICET_STORAGE_ENDPOINT", ""),
    "region": _environ.get("LICET_STORAGE_REGION", ""),
    "prefix": _environ.get("LICET_STORAGE_PREFIX", ""),
    "access_key": _environ.get("LICET_STORAGE_ACCESS_KEY", ""),
    "secret_key": _environ.get("LICET_STORAGE_SECRET_KEY", ""),
}
# Uploads wait here; on the same file system as STORAGE_DIR, a finished one moves without a copy.
# Every process that takes uploads must see the same directory.
UPLOAD_DIR = Path(_environ.get("LICET_UPLOAD_DIR", STORAGE_DIR / "uploads"))
UPLOAD_LENGTH_MAX = int(_environ.get("LICET_UPLOAD_LENGTH_MAX", 64 << 30))
# What a browser may send at once; larger files go through the API.
BROWSER_UPLOAD_LENGTH_MAX = int(_environ.get("LICET_BROWSER_UPLOAD_LENGTH_MAX", 4 << 30))
# All of one organization's uploads together.
UPLOADS_LENGTH_MAX = int(_environ.get("LICET_UPLOADS_LENGTH_MAX", 256 << 30))
DELIVERY_LINK_SECONDS = int(_environ.get("LICET_DELIVERY_LINK_SECONDS", "300"))

# How long a contributor's opt-out link works.
OPT_OUT_LINK_DAYS = int(_environ.get("LICET_OPT_OUT_LINK_DAYS", "30"))
# --- selling on request -----------------------------------------------------------------------

# How long a buyer's request awaits its answer, and how long an approval lasts.
ACCESS_REQUEST_DAYS = int(_environ.get("LICET_ACCESS_REQUEST_DAYS", "30"))

# --- webhooks ---------------------------------------------------------------------------------

# Whether webhooks may go to this machine, over http:// too: for somebody who writes a receiver.
WEBHOOKS_TO_LOOPBACK = DEVELOPMENT and _flag("LICET_WEBHOOKS_TO_LOOPBACK")

# --- listings ---------------------------------------------------------------------------------

# Whether an operator approves each listing before the market shows it.
LISTING_REVIEW = _flag("LICET_LISTING_REVIEW", "" if DEVELOPMENT else "on")
# How many reports one sender, or one e-mail address, may send in a day.
REPORTS_A_DAY = int(_environ.get("LICET_REPORTS_A_DAY", "10"))

# --- the ledger -------------------------------------------------------------------------------

# The origin names the log for good (C2SP tlog-checkpoint): a schema-less URL without a port.
LEDGER_ORIGIN = _environ.get("LICET_LEDGER_ORIGIN", "licet.example/ledger")
# A directory with one Ed25519 key a log, made by `manage.py ledger_key`; never the database's.
LEDGER_KEY_DIR = Path(_environ.get("LICET_LEDGER_KEY_DIR", DATA_DIR / "ledger"))
# Where the signer remembers what it signed last, so that a restored backup cannot fork a log: a
# directory of one host, or s3://bucket/prefix for several. Empty: beside the keys. Whatever
# restores the database must not restore this.
LEDGER_GUARD = _environ.get("LICET_LEDGER_GUARD", "")
# A directory or s3://bucket/prefix that gets a copy of all entries and tiles before their tree is
# signed. Outside development the live log is not signed without one.
LEDGER_EXPORT = _environ.get("LICET_LEDGER_EXPORT", "")
# Servers that cosign the logs' checkpoints (C2SP tlog-witness): VKEY URL VKEY URL …, each key as
# the witness publishes it, each URL the one below which it has add-checkpoint.
LEDGER_WITNESSES = _environ.get("LICET_LEDGER_WITNESSES", "")
# Seconds within which a private deal's grant is recorded, at a random time: whoever watches the
# log cannot tell when the deal was made. Its receipt is there no sooner. 0: at once.
LEDGER_PRIVATE_DELAY = int(_environ.get("LICET_LEDGER_PRIVATE_DELAY", "0"))
# Seconds between two roots of the audit in a log: for so long what was done to organizations'
# things can be changed in the database without anybody else noticing.
LEDGER_AUDIT_SECONDS = int(_environ.get("LICET_LEDGER_AUDIT_SECONDS", "86400"))
# Where the list of erased people is kept, outside the database, for `manage.py after_restore`: a
# directory or s3://bucket/prefix. It holds ids, times and counts; no restore may touch it.
ERASURES = _environ.get("LICET_ERASURES", "") or LEDGER_EXPORT or str(DATA_DIR / "erasures")
# Of every s3:// address of the ledger. Without keys, boto3 finds the machine's own.
LEDGER_BUCKET = {
    "endpoint": _environ.get("LICET_LEDGER_BUCKET_ENDPOINT", ""),
    "region": _environ.get("LICET_LEDGER_BUCKET_REGION", ""),
    "access_key": _environ.get("LICET_LEDGER_BUCKET_ACCESS_KEY", ""),
    "secret_key": _environ.get("LICET_LEDGER_BUCKET_SECRET_KEY", ""),
}

# --- Stripe -----------------------------------------------------------------------------------

# Without a key, development talks to the simulator at this address; it takes no other key.
SIMULATOR_URL = _environ.get("LICET_SIMULATOR_URL", "http://127.0.0.1:8002").rstrip("/")
_SIMULATOR_KEY = "sk_test_devstripe_licet"
STRIPE_API_KEY = _required("STRIPE_API_KEY", _SIMULATOR_KEY)
STRIPE_API_BASE = _environ.get(
    "STRIPE_API_BASE", SIMULATOR_URL if STRIPE_API_KEY == _SIMULATOR_KEY else ""
)
# Two secrets may stand here while one replaces the other.
STRIPE_WEBHOOK_SECRETS = _required("STRIPE_WEBHOOK_SECRET", "whsec_simulator").split(",")
STRIPE_LIVEMODE = STRIPE_API_KEY.startswith(("sk_live_", "rk_live_"))
# At most so many requests to Stripe within any second, by all processes together, and to one of its
# endpoints: below its limits (https://docs.stripe.com/rate-limits). 0: as many as come; the
# simulator has no limits.
STRIPE_REQUESTS_PER_SECOND = int(
    _environ.get("LICET_STRIPE_REQUESTS_PER_SECOND", "")
    or ("80" if STRIPE_LIVEMODE else "0" if STRIPE_API_KEY == _SIMULATOR_KEY else "20")
)
STRIPE_ENDPOINT_REQUESTS_PER_SECOND = int(
    _environ.get("LICET_STRIPE_ENDPOINT_REQUESTS_PER_SECOND", "20")
)
# Where the market's own Stripe account is (ISO 3166-1): it says whom it can pay.
PLATFORM_COUNTRY = _environ.get("LICET_PLATFORM_COUNTRY", "US").upper()
# "package.module.function": called with an organization whose account became active in live mode.
# True clears it to be paid, False refuses it, None leaves it to an operator.
SCREENING = _environ.get("LICET_SCREENING", "")
# {"DE": {"basis_points": 1900, "inclusive": false, "reverse_charge": true}}: the tax of buyers
# there (ISO 3166-1, or a region's 3166-2). The operator owes it, and collects none elsewhere.
TAX: dict[str, dict[str, Any]] = json.loads(_environ.get("LICET_TAX", "{}"))
# Organizations whose exemption the operator has seen, divided by commas.
TAX_EXEMPT = frozenset(filter(None, _environ.get("LICET_TAX_EXEMPT", "").split(",")))
# "local" (the table above) or "stripe" (Stripe Tax).
TAX_PROVIDER = _environ.get("LICET_TAX_PROVIDER", "local")
# A license that began with its invoice is suspended so many days after that was due.
INVOICE_GRACE_DAYS = int(_environ.get("LICET_INVOICE_GRACE_DAYS", "7"))
# {"USD": 100000}: a refund above this, in minor units, needs two people. Left out: none does.
REFUND_LIMITS: dict[str, int] = json.loads(_environ.get("LICET_REFUND_LIMITS", "{}"))

# --- what operators watch ---------------------------------------------------------------------

# "json": a line of JSON for each record; "text": for eyes.
LOG_FORMAT = log_lines.format_of_environment()
if LOG_FORMAT not in {"json", "text"}:
    raise ImproperlyConfigured("LICET_LOG_FORMAT is “json” or “text”.")
# Whoever runs a command wants its output alone: manage.py sends its log to the other stream.
LOG_STREAM = _environ.get("LICET_LOG_STREAM", "stdout" if LOG_FORMAT == "json" else "stderr")
if LOG_STREAM not in {"stdout", "stderr"}:
    raise ImproperlyConfigured("LICET_LOG_STREAM is “stdout” or “stderr”.")
# A line for each request.
ACCESS_LOG = _flag("LICET_ACCESS_LOG", "" if DEVELOPMENT else "on")
_LOG_LEVEL = _environ.get("LICET_LOG_LEVEL", "WARNING").upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "marketplace.log_lines.formatter"}},
    "filters": {"paths": {"()": "marketplace.request_log.SafePaths"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "stream": f"ext://sys.{LOG_STREAM}",
            "formatter": "line",
            "filters": ["paths"],
        }
    },
    "root": {"handlers": ["console"], "level": _LOG_LEVEL},
    "loggers": {
        # At DEBUG the SDK tells whole answers of Stripe's: buyers' names, payments' secrets, and
        # the addresses by which buyers come back, which stand for a login.
        "stripe": {"level": "INFO" if _LOG_LEVEL == "DEBUG" else _LOG_LEVEL},
        # A refusal stands in the line of its request already.
        "django.request": {"level": "ERROR" if ACCESS_LOG else "NOTSET"},
        "licet.access": {
            "level": "DEBUG" if _LOG_LEVEL == "DEBUG" else "INFO" if ACCESS_LOG else "WARNING"
        },
    },
}
# Whoever shows this bearer token may read /metrics. Empty: nobody, and nothing is counted.
METRICS_TOKEN = _environ.get("LICET_METRICS_TOKEN", "")
# Where the processes of one machine or container count. Never shared by two containers: they would
# take each other's processes for their own.
METRICS_DIR = Path(_environ.get("PROMETHEUS_MULTIPROC_DIR", "") or DATA_DIR / "metrics" / PROCESS)
# The worker has no port of its own unless it is given one, for probes and metrics.
WORKER_PORT = int(_environ.get("LICET_WORKER_PORT", "") or 0)
WORKER_HOST = _environ.get("LICET_WORKER_HOST", "127.0.0.1")
# Traces, by OpenTelemetry's own variables (OTEL_…). Needs the extra “otel”.
OTEL = _flag("LICET_OTEL")
