"""Whether a market is well: checks in words, each with a way out. They change nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core import mail
from django.db import Error, connection
from django.db.models import Count, Min, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import status
from licensing.ledger import export, guard, signer, stores, succession, tiles
from licensing.ledger.log import LOGS, LedgerCorrupted
from licensing.models import LedgerPending
from marketplace import access, devdb, erasures, schema_guard
from marketplace import webhooks as endpoints
from marketplace.errors import PaymentProviderRefused, PaymentProviderUnavailable
from marketplace.models import Event, User, WebhookDelivery, WebhookEndpoint
from payments import mismatches, queues, stripe_gateway
from payments.models import StripeEvent

# What is due is done within seconds: so late, nobody does it.
_LATE: Final = timedelta(minutes=1)
_DEAD: Final = timedelta(minutes=10)
# Somebody else's server may be slow, and others wait for it.
_UNDELIVERED: Final = timedelta(minutes=15)
_UNDELIVERED_LONG: Final = timedelta(hours=1)
# A root is made once a day at least.
_ROOT_EVERY: Final = timedelta(hours=26)
_CLOCK_WARN: Final = timedelta(seconds=1)
_CLOCK_FAIL: Final = timedelta(seconds=5)
_DISK_WARN: Final = 0.15
_DISK_FAIL: Final = 0.05
_SECRET_MIN: Final = 32
# Guessed over the network alone.
_TOKEN_MIN: Final = 16
_WITHOUT_DATABASE: Final = frozenset({"disks", "mail", "secrets", "static"})


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: how bad, in words, and what to do about it."""

    level: Level
    text: str
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A finding, and which check made it."""

    check: str
    title: str
    level: Level
    text: str
    way_out: str


def _ok(text: str) -> Finding:
    return Finding(Level.OK, text)


def _warn(text: str, way_out: str) -> Finding:
    return Finding(Level.WARN, text, way_out)


def _fail(text: str, way_out: str) -> Finding:
    return Finding(Level.FAIL, text, way_out)


def _in_production(finding: Finding) -> Finding:
    """In development, what is wrong in production alone is worth a word."""
    if settings.DEVELOPMENT and finding.level == Level.FAIL:
        return Finding(Level.WARN, finding.text, finding.way_out)
    return finding


def examine() -> Iterator[Result]:
    """Make every check, one after another. One that cannot look is a failure of its own.

    Where the database is away, those that need it are left out: each would wait for it.
    """
    is_away = False
    for name, title, check in CHECKS:
        if is_away and name not in _WITHOUT_DATABASE:
            continue
        try:
            found = list(check())
        except (Error, OSError, stores.StoreUnavailable, LedgerCorrupted) as error:
            found = [
                _fail(str(error).strip() or repr(error), _("See to it that this can be read."))
            ]
            # It may be the connection that is broken.
            connection.close()
            is_away |= name == "database"
        for each in found:
            yield Result(name, str(title), each.level, each.text, each.way_out)


# --- the database -----------------------------------------------------------------------------


def database() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::int,"
            " pg_database_size(current_database())"
        )
        version, number, size = cursor.fetchone() or ("", 0, 0)
    said = _("PostgreSQL %(version)s, %(size)s MB") % {
        "version": version,
        "size": f"{size // 1_000_000:,}",
    }
    if number < devdb.OLDEST_VERSION:
        yield _fail(said, _("Licet needs PostgreSQL 15 or later."))
    else:
        yield _ok(said)


def roles() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, rolsuper, rolbypassrls, (SELECT count(*) FROM pg_class"
            " WHERE relowner = pg_roles.oid AND relnamespace = 'public'::regnamespace)"
            " FROM pg_roles WHERE rolname = current_user"
        )
        role, is_super, passes, owned = cursor.fetchone() or ("", True, True, 0)
        cursor.execute(
            "SELECT session_user, rolsuper OR rolbypassrls FROM pg_roles"
            " WHERE rolname = session_user"
        )
        login, is_mighty = cursor.fetchone() or ("", True)
    if is_super or passes or owned:
        yield _fail(
            _("The server acts as %(role)s, which passes the walls between tenants.")
            % {"role": role},
            _("ALTER ROLE %(role)s NOSUPERUSER NOBYPASSRLS, and let %(owner)s own the tables.")
            % {"role": role, "owner": devdb.OWNER},
        )
    elif is_mighty:
        yield _in_production(
            _fail(
                _("The login %(login)s is a superuser: whoever gets hold of it passes every wall.")
                % {"login": login},
                _("Give DATABASE_URL a login of its own: manage.py bootstrap_database."),
            )
        )
    else:
        yield _ok(
            _("The server acts as %(role)s, by the login %(login)s.")
            % {"role": role, "login": login}
        )


def walls() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND ("
            " relrowsecurity OR relforcerowsecurity"
            " OR EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid)) ORDER BY 1"
        )
        tables = cursor.fetchall()
        cursor.execute(
            "SELECT tgrelid::regclass::text || '.' || tgname FROM pg_trigger"
            " WHERE NOT tgisinternal AND tgenabled <> 'A' AND tgname LIKE 'insert_only%'"
            " ORDER BY 1"
        )
        asleep = [name for (name,) in cursor.fetchall()]
    down = [name for name, stands in tables if not stands]
    if down:
        yield _fail(
            _("Not walled off between tenants: %(tables)s.") % {"tables": ", ".join(down)},
            _("ALTER TABLE … ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY."),
        )
    if asleep:
        yield _fail(
            _("Rows that must never change can be changed: %(triggers)s.")
            % {"triggers": ", ".join(asleep)},
            _("ALTER TABLE … ENABLE ALWAYS TRIGGER …, then manage.py ledger_fsck and audit_check."),
        )
    if not down and not asleep:
        yield _ok(_("%(count)s private tables are walled off.") % {"count": len(tables)})


def migrations() -> Iterator[Finding]:
    found = schema_guard.look()
    if found.is_restoring:
        yield _fail(
            _("The restore of this database was not finished."),
            _("Run manage.py restore FILE once more."),
        )
    if found.ahead:
        make = _warn if found.runs_older else _fail
        yield make(schema_guard.unknown(found.ahead), _("Start the newer Licet here, too."))
    if found.behind:
        yield _fail(
            _("%(count)s migrations are not applied, the first is %(name)s.")
            % {"count": len(found.behind), "name": found.behind[0]},
            _("Run manage.py migrate."),
        )
    if not (found.is_restoring or found.ahead or found.behind):
        yield _ok(_("The tables are those of this Licet (%s).") % schema_guard.VERSION)


def clock() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        before = timezone.now()
        cursor.execute("SELECT clock_timestamp()")
        (there,) = cursor.fetchone() or (before,)
        after = timezone.now()
    apart = max(before - there, there - after, timedelta())
    said = _("The clock here and the database's are %(seconds).1f s apart.") % {
        "seconds": apart.total_seconds()
    }
    way_out = _("Have both machines follow a time server.")
    if apart >= _CLOCK_FAIL:
        yield _fail(said, way_out)
    elif apart >= _CLOCK_WARN:
        yield _warn(said, way_out)
    else:
        yield _ok(said)


# --- the ledger -------------------------------------------------------------------------------


def sequencer() -> Iterator[Finding]:
    with access.system("look how long entries wait"):
        waiting = LedgerPending.objects.filter(not_before=None)
        oldest = waiting.aggregate(oldest=Min("entry__created_at"))["oldest"]
        count = waiting.count() if oldest else 0
    said = _("%(count)s entries wait for their places in a log") % {"count": count}
    yield _late(said, oldest, _("Start manage.py worker, and read what it says."))


def checkpoints() -> Iterator[Finding]:
    for log in LOGS:
        name = succession.current(log)
        newest, last = tiles.newest_tree(name), tiles.newest_checkpoint(name)
        if newest is None:
            yield _ok(_("The log “%s” has no entry yet.") % name)
            continue
        try:
            signer.load(name)
        except signer.KeyUnusable as error:
            yield _warn(str(error), _("That is right on a host that does not sign."))
        if last is None or last.size < newest.size:
            yield _late(
                _("The log “%s” has grown since it was signed") % name,
                newest.integrated_at,
                _("Start manage.py worker; manage.py ledger_sequence --once says what is wrong."),
            )
        else:
            yield _ok(
                _("The log “%(log)s” was signed at %(size)s entries, %(age)s ago.")
                % {"log": name, "size": f"{last.size:,}", "age": _age(last.signed_at)}
            )


def guards() -> Iterator[Finding]:
    for log in LOGS:
        name = succession.current(log)
        try:
            guard.check(name)
        except guard.GuardRefused as error:
            yield _fail(
                str(error), _("Start nothing that signs: see “When a log refuses to sign”.")
            )
        else:
            yield _ok(_("The log “%s” continues all that its key signed.") % name)


def second_place() -> Iterator[Finding]:
    if not settings.LEDGER_EXPORT:
        yield _in_production(
            _fail(
                _("The logs have no second place, so that the live one is not signed."),
                _("Set LICET_LEDGER_EXPORT to a directory on another volume, or s3://…"),
            )
        )
        return
    store = stores.open_store(settings.LEDGER_EXPORT)
    for log in LOGS:
        name = succession.current(log)
        last = tiles.newest_checkpoint(name)
        try:
            copied = export.checkpoint_in(name, store)
        except stores.StoreConflict as error:
            yield _fail(str(error), _("Run manage.py ledger_fsck --tiles on the copy."))
            continue
        here, there = last.size if last else 0, copied.size if copied else 0
        said = _("The copy of the log “%(log)s” has %(there)s of %(here)s signed entries.") % {
            "log": name,
            "there": f"{there:,}",
            "here": f"{here:,}",
        }
        if there > here:
            yield _fail(said, _("This database was restored: manage.py ledger_recover."))
        elif there < here and last is not None and timezone.now() - last.signed_at > _LATE:
            yield _fail(said, _("Run manage.py ledger_export, and read what the worker says."))
        else:
            yield _ok(said)


def status_roots() -> Iterator[Finding]:
    with access.system("look how old the newest status roots are"):
        newest = {log: status.newest(log) for log in LOGS}
        due = {log: status.due(log) for log in LOGS}
    for log, root in newest.items():
        if root is None:
            yield _ok(_("The log “%s” has no license whose status is to be told.") % log)
            continue
        said = _("Every license's status stands in the log “%(log)s” as of %(age)s ago.") % {
            "log": log,
            "age": _age(root.created_at),
        }
        if timezone.now() - root.created_at > _ROOT_EVERY:
            yield _fail(said, _("Start manage.py worker: buyers' tools take no older one."))
        elif due[log]:
            yield _warn(said, _("A newer one is due: it comes within a minute of a change."))
        else:
            yield _ok(said)


# --- what is to be done -----------------------------------------------------------------------


def worker() -> Iterator[Finding]:
    names = {
        "calls": _("calls to Stripe"),
        "events": _("events of Stripe"),
        "imports": _("imports"),
        "orders": _("paid orders without a license"),
    }
    found = queues.due()
    way_out = _("Start manage.py worker, and read what it says.")
    for each in found:
        if each.since is not None:
            yield _late(
                _("%(count)s %(what)s are due") % {"count": each.count, "what": names[each.name]},
                each.since,
                way_out,
            )
    if all(each.since is None for each in found):
        yield _ok(_("Nothing is overdue."))


def deliveries() -> Iterator[Finding]:
    now = timezone.now()
    rests = Q(endpoint__rests_until__gt=now - _UNDELIVERED)
    with access.system("look how long events wait, and for whom"):
        placeless = Event.objects.filter(position=None)
        waits = placeless.aggregate(since=Min("created_at"), count=Count("pk"))
        due = WebhookDelivery.objects.filter(
            next_attempt_at__lte=now - _UNDELIVERED, endpoint__disabled_at=None
        )
        # One that failed is left alone for a while: that is as it should be.
        overdue = due.exclude(rests).aggregate(since=Min("next_attempt_at"), count=Count("pk"))
        disabled = WebhookEndpoint.objects.filter(
            disabled_because=WebhookEndpoint.Because.FAILING,
            disabled_at__gt=now - timedelta(days=endpoints.KEPT_DAYS),
        )
        failed = list(disabled.order_by("disabled_at").values_list("pk", flat=True))
    if waits["since"] is not None:
        yield _late(
            _("%(count)s events wait for their places in a feed") % {"count": waits["count"]},
            waits["since"],
            _("Start manage.py worker, and read what it says: until then, nobody is told of them."),
        )
    if overdue["since"] is not None:
        make = _fail if now - overdue["since"] > _UNDELIVERED_LONG else _warn
        yield make(
            _("%(count)s deliveries to webhooks are overdue, the oldest for %(age)s.")
            % {"count": overdue["count"], "age": _age(overdue["since"])},
            _("Start manage.py worker, and read what it says; another one sends to more at once."),
        )
    if failed:
        yield _warn(
            _("Webhooks that were disabled because they took nothing for days: %s.")
            % ", ".join(map(str, failed)),
            _(
                "Their owners were mailed. Once their servers are repaired, they enable them and"
                " have sent what they missed, of the last 30 days."
            ),
        )
    if waits["since"] is None and overdue["since"] is None and not failed:
        yield _ok(_("Events have their places, and no webhook is behind."))


def stripe() -> Iterator[Finding]:
    simulated = settings.STRIPE_API_BASE == settings.SIMULATOR_URL
    mode = _("live: money moves") if settings.STRIPE_LIVEMODE else _("test: no money moves")
    where = _("the simulator") if simulated else "Stripe"
    now = timezone.now()
    try:
        stripe_gateway.balance_lines(now - timedelta(seconds=1), now)
    except (PaymentProviderUnavailable, PaymentProviderRefused) as error:
        yield _fail(
            _("%(where)s did not answer (%(mode)s): %(error)s")
            % {"where": where, "mode": mode, "error": error.detail},
            _("See whether STRIPE_API_KEY is right and this machine may connect outward."),
        )
    else:
        yield _ok(
            _("%(where)s answers. The key's mode is %(mode)s.") % {"where": where, "mode": mode}
        )


def webhooks() -> Iterator[Finding]:
    with access.system("look when Stripe last delivered an event"):
        events = StripeEvent.objects.filter(livemode=settings.STRIPE_LIVEMODE)
        delivered = events.filter(is_fetched=False).order_by("-received_at").first()
        fetched = events.filter(is_fetched=True).order_by("-received_at").first()
        failing = events.filter(handled_at=None).exclude(last_error="").count()
    way_out = _("Point Stripe's webhook at %s/stripe/webhook.") % settings.BASE_URL
    if failing:
        yield _fail(
            _("%(count)s events of Stripe fail each time.") % {"count": failing},
            _("Their last error stands in the admin, under Stripe events."),
        )
    if delivered is None:
        yield _warn(_("Stripe has delivered no event yet."), way_out)
    elif fetched is not None and fetched.received_at > delivered.received_at:
        yield _warn(
            _("Stripe delivered its last event %(age)s ago; newer ones had to be fetched.")
            % {"age": _age(delivered.received_at)},
            way_out,
        )
    else:
        yield _ok(
            _("Stripe delivered its last event %(age)s ago.") % {"age": _age(delivered.received_at)}
        )


def books() -> Iterator[Finding]:
    with access.system("look what does not agree with Stripe"):
        found = mismatches.still_open(livemode=settings.STRIPE_LIVEMODE)
        count, oldest = found.count(), found.first()
    if oldest is None:
        yield _ok(_("All that was compared with Stripe agrees."))
    else:
        yield _fail(
            _("%(count)s mismatches with Stripe are open, the oldest for %(age)s.")
            % {"count": count, "age": _age(oldest.first_seen_at)},
            _("Look at them in the admin, or run manage.py reconcile."),
        )


def erased() -> Iterator[Finding]:
    store = stores.open_store(settings.ERASURES)
    places = set(store.paths(erasures.PREFIX))
    with access.system("compare the list of erasures with its copy"):
        missing = erasures.copied_paths() - places
        waiting = len(erasures.uncopied())
    if missing:
        yield _fail(
            _("%(place)s lacks %(count)s erasures: a restore would bring these people back.")
            % {"place": store, "count": len(missing)},
            _("See whether LICET_ERASURES is right and its volume mounted."),
        )
    elif waiting:
        yield _warn(
            _("%(count)s erasures are not copied yet.") % {"count": waiting},
            _("The worker copies them within seconds: is it running?"),
        )
    else:
        yield _ok(
            _("%(count)s erasures are on the list (%(place)s).")
            % {"count": len(places), "place": store}
        )


# --- the machine and its settings -------------------------------------------------------------


def disks() -> Iterator[Finding]:
    places = {Path(settings.STORAGE_DIR), Path(settings.UPLOAD_DIR), Path(settings.DATA_DIR)}
    # The list of erasures, too: where it cannot be written, a restore brings people back.
    kept = (settings.LEDGER_EXPORT, settings.ERASURES)
    places |= {Path(place) for place in kept if place and "://" not in place}
    devices: dict[int, Path] = {}
    for place in sorted(places):
        there = next(each for each in (place, *place.parents) if each.exists())
        devices.setdefault(os.stat(there).st_dev, there)
    for place in devices.values():
        usage = shutil.disk_usage(place)
        free = usage.free / usage.total
        said = _("%(free)s GB are free (%(share)d %%) where %(place)s is.") % {
            "free": f"{usage.free / 1e9:,.1f}",
            "share": round(free * 100),
            "place": place,
        }
        way_out = _(
            "Make room: a full disk stops imports, uploads, and the copies of the ledger and of the"
            " list of erasures."
        )
        make = _fail if free < _DISK_FAIL else _warn if free < _DISK_WARN else None
        yield make(said, way_out) if make else _ok(said)


def mails() -> Iterator[Finding]:
    if not settings.EMAIL_HOST:
        yield _in_production(
            _fail(
                _("No mail server: invitations and links are printed, not sent."),
                _("Set LICET_EMAIL_HOST and what goes with it."),
            )
        )
        return
    opened = mail.get_connection()
    try:
        # Says hello and goodbye; sends nothing. Its errors are all of OSError's kind.
        opened.open()
    finally:
        opened.close()
    yield _ok(_("The mail server %s answers.") % settings.EMAIL_HOST)


def secrets() -> Iterator[Finding]:
    if settings.DEBUG:
        yield _fail(_("Django's DEBUG is on."), _("Never serve others with it."))
    if settings.DEVELOPMENT:
        yield _warn(
            _("LICET_DEBUG is on: everybody knows this market's secrets."),
            _("Unset it wherever others get in."),
        )
        return
    weak = [
        name
        for name, is_weak in (
            ("LICET_SECRET_KEY", len(settings.SECRET_KEY) < _SECRET_MIN),
            ("STRIPE_WEBHOOK_SECRET", not all(settings.STRIPE_WEBHOOK_SECRETS)),
            ("LICET_METRICS_TOKEN", 0 < len(settings.METRICS_TOKEN) < _TOKEN_MIN),
        )
        if is_weak
    ]
    if weak:
        yield _fail(_("Too short to be a secret: %s.") % ", ".join(weak), _("Set another one."))
    if not settings.BASE_URL.startswith("https://"):
        yield _fail(
            _("LICET_BASE_URL is %s: cookies and keys travel in the open.") % settings.BASE_URL,
            _("Serve it behind TLS, and set its https:// address."),
        )
    if "*" in settings.ALLOWED_HOSTS:
        yield _fail(_("LICET_ALLOWED_HOSTS lets any name in."), _("Name the hosts."))
    if not (weak or settings.DEBUG):
        yield _ok(_("Secrets are set, and debugging is off."))


def static_files() -> Iterator[Finding]:
    wanted = "admin/css/base.css"
    if Path(settings.STATIC_ROOT, wanted).exists() or (
        settings.WHITENOISE_USE_FINDERS and finders.find(wanted)
    ):
        yield _ok(_("Style sheets and scripts are found."))
    else:
        yield _fail(
            _("Style sheets and scripts are missing below %s.") % settings.STATIC_ROOT,
            _("Run manage.py collectstatic."),
        )


def operators() -> Iterator[Finding]:
    those = User.objects.filter(is_operator=True, is_active=True)
    count = those.count()
    if not count:
        yield _warn(_("Nobody is an operator."), _("manage.py operator appoint makes one."))
        return
    if not apps.is_installed("allauth.mfa"):
        yield _warn(
            _("%(count)s operators sign in by a password alone.") % {"count": count},
            _("Let them in through a proxy that asks for a second factor."),
        )
        return
    factors: Any = apps.get_app_config("mfa").get_model("Authenticator")
    with access.system("look which operators have a second factor"):
        without = list(
            those.exclude(pk__in=factors.objects.values("user_id")).values_list("email", flat=True)
        )
    if without:
        yield _in_production(
            _fail(
                _("Operators without a second factor: %s.") % ", ".join(sorted(without)),
                _("Have each add an authenticator app or a passkey."),
            )
        )
    else:
        yield _ok(_("All %(count)s operators have a second factor.") % {"count": count})


# --- what they share --------------------------------------------------------------------------

CHECKS: Final[tuple[tuple[str, Any, Callable[[], Iterable[Finding]]], ...]] = (
    ("database", gettext_lazy("Database"), database),
    ("roles", gettext_lazy("Roles"), roles),
    ("walls", gettext_lazy("Walls between tenants"), walls),
    ("migrations", gettext_lazy("Migrations"), migrations),
    ("clock", gettext_lazy("Clock"), clock),
    ("sequencer", gettext_lazy("Ledger: sequencer"), sequencer),
    ("checkpoints", gettext_lazy("Ledger: signer"), checkpoints),
    ("guards", gettext_lazy("Ledger: guards"), guards),
    ("second_place", gettext_lazy("Ledger: second place"), second_place),
    ("status_roots", gettext_lazy("Ledger: status"), status_roots),
    ("worker", gettext_lazy("Work that is due"), worker),
    ("deliveries", gettext_lazy("Events and webhooks"), deliveries),
    ("stripe", gettext_lazy("Stripe"), stripe),
    ("webhooks", gettext_lazy("Stripe's webhook"), webhooks),
    ("books", gettext_lazy("Books"), books),
    ("erasures", gettext_lazy("List of erasures"), erased),
    ("disks", gettext_lazy("Disk space"), disks),
    ("mail", gettext_lazy("Mail"), mails),
    ("secrets", gettext_lazy("Secrets"), secrets),
    ("static", gettext_lazy("Static files"), static_files),
    ("operators", gettext_lazy("Operators"), operators),
)


def _late(said: str, since: datetime | None, way_out: str) -> Finding:
    """How bad it is that something waits since then."""
    if since is None:
        return _ok(said + ".")
    waits = timezone.now() - since
    said = _("%(said)s, the oldest for %(age)s.") % {"said": said, "age": _age(since)}
    if waits > _DEAD:
        return _fail(said, way_out)
    return _warn(said, way_out) if waits > _LATE else _ok(said)


def _age(since: datetime) -> str:
    seconds = max(0, int((timezone.now() - since).total_seconds()))
    for unit, length in ((_("days"), 86_400), (_("hours"), 3_600), (_("minutes"), 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} {_('seconds')}"
