"""The doctor says in words what is wrong, what to do, and by its exit code that something is."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from licensing.ledger import sequencer, signer
from marketplace import operators, organizations, schema_guard, webhook_deliveries, webhooks
from marketplace.access import system
from marketplace.models import Organization, WebhookEndpoint
from payments import checkup, erasures, stripe_gateway
from payments.checkup import Level
from payments.models import Command, Mismatch, StripeEvent
from tests.database import TestDatabase
from tests.ledger import append_many, guards_in
from tests.people import caller_for

ROOT = Path(__file__).parents[2]
Owner = psycopg.Connection[Any]

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for setting, folder in (("ERASURES", "list"), ("LEDGER_EXPORT", "copy")):
        monkeypatch.setattr(settings, setting, str(tmp_path / folder))
    monkeypatch.setattr(stripe_gateway, "balance_lines", lambda *_range: None)
    return tmp_path


def found(check: str) -> list[tuple[str, str]]:
    """What one check says: how bad, and in which words. A way out stands with whatever is bad."""
    [(name, title, look)] = [each for each in checkup.CHECKS if each[0] == check]
    findings = list(look())
    assert findings, f"{name} ({title}) says nothing"
    for each in findings:
        assert bool(each.way_out) == (each.level != Level.OK)
    return [(each.level.value, each.text) for each in findings]


def only(check: str) -> tuple[str, str]:
    [finding] = found(check)
    return finding


def test_a_new_market_has_no_failure_and_every_check_speaks() -> None:
    results = list(checkup.examine())

    assert [each for each in results if each.level == Level.FAIL] == []
    assert {each.check for each in results} == {name for name, _title, _look in checkup.CHECKS}


def test_the_command_shows_each_and_ends_with_one_where_one_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    call_command("doctor", "--fix-nothing", stdout=out)
    assert re.search(r"^ok    Walls between tenants: \d\d ", out.getvalue(), re.MULTILINE)
    assert out.getvalue().endswith("No check failed.\n")

    monkeypatch.setattr(settings, "DEBUG", True)
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"^1 check failed\.$") as refusal:
        call_command("doctor", "--json", stdout=out)
    assert refusal.value.returncode == 1
    failed = [each for each in json.loads(out.getvalue()) if each["level"] == "fail"]
    assert [(each["check"], each["text"]) for each in failed] == [
        ("secrets", "Django's DEBUG is on.")
    ]
    assert failed[0]["way_out"] == "Never serve others with it."


@pytest.mark.oracle
def test_a_database_that_is_away_is_said_once_and_the_rest_is_still_looked_at(
    test_database: TestDatabase,
) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=ROOT,
        env={**test_database.environ, "DATABASE_URL": "postgresql://licet@127.0.0.1:9/licet"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 1
    results = json.loads(done.stdout)
    failed = [each["check"] for each in results if each["level"] == "fail"]
    assert failed == ["database"]
    assert {"disks", "mail", "secrets", "static"} <= {each["check"] for each in results}
    assert "1 check failed." in done.stderr
    assert "Traceback" not in done.stderr


# --- each failure -----------------------------------------------------------------------------


def test_a_wall_that_is_down_and_a_guard_that_sleeps_are_named(owner_connection: Owner) -> None:
    owner_connection.execute("ALTER TABLE marketplace_apikey NO FORCE ROW LEVEL SECURITY")
    owner_connection.execute("ALTER TABLE payments_quote DISABLE ROW LEVEL SECURITY")
    owner_connection.execute("ALTER TABLE marketplace_audit DISABLE TRIGGER insert_only")

    assert found("walls") == [
        ("fail", "Not walled off between tenants: marketplace_apikey, payments_quote."),
        ("fail", "Rows that must never change can be changed: marketplace_audit.insert_only."),
    ]


def test_a_role_that_owns_tables_is_named(owner_connection: Owner) -> None:
    assert only("roles")[0] in {"ok", "warn"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkup, "connection", _AsOwner(owner_connection))
        level, text = only("roles")
    assert (level, "licet_owner, which passes the walls" in text) == ("fail", True)


class _AsOwner:
    """What a server would see that was given the owner's role."""

    def __init__(self, owner: Owner) -> None:
        self.cursor = owner.cursor


def test_migrations_of_another_release_and_an_unfinished_restore_are_named(
    owner_connection: Owner,
) -> None:
    owner_connection.execute(
        "INSERT INTO django_migrations (app, name, applied) VALUES ('payments', '9999_x', now())"
    )
    owner_connection.execute("CREATE TABLE licet_restore (one boolean)")
    owner_connection.execute(
        "DELETE FROM django_migrations WHERE app = 'marketplace' AND name LIKE '0003%'"
    )

    assert found("migrations") == [
        ("fail", "The restore of this database was not finished."),
        ("fail", schema_guard.unknown(["payments.9999_x"])),
        ("fail", "1 migrations are not applied, the first is marketplace.0003_reserved_digest."),
    ]


@pytest.mark.django_db(transaction=True)
def test_entries_that_nobody_places_or_signs_are_late(
    owner_connection: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_many(2)
    assert only("sequencer")[0] == "ok"
    later(monkeypatch, minutes=5)
    assert only("sequencer") == (
        "warn",
        "2 entries wait for their places in a log, the oldest for 5 minutes.",
    )
    later(monkeypatch, minutes=11)
    assert only("sequencer")[0] == "fail"

    monkeypatch.setattr(checkup.timezone, "now", timezone.now)


def later(monkeypatch: pytest.MonkeyPatch, **delta: int) -> None:
    now = timezone.now()

    class Clock:
        @staticmethod
        def now() -> Any:
            return now + timedelta(**delta)

    monkeypatch.setattr(checkup, "timezone", Clock)


@pytest.mark.django_db(transaction=True)
def test_a_log_that_was_signed_says_when_and_its_copy_how_far(ledger_guard: Path) -> None:
    append_many(2)
    sequencer.run_once()

    assert found("checkpoints")[0] == (
        "ok",
        "The log “test” was signed at 2 entries, 0 seconds ago.",
    )
    assert found("second_place")[0] == (
        "ok",
        "The copy of the log “test” has 2 of 2 signed entries.",
    )
    assert guards_in(ledger_guard)
    for file in ledger_guard.glob("test.guard"):
        file.unlink()
    level, text = found("guards")[0]
    assert (level, "is missing" in text) == ("fail", True)


@pytest.mark.django_db(transaction=True)
def test_a_key_that_is_not_here_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    append_many(1)
    sequencer.run_once()

    def none(_log: str) -> None:
        raise signer.KeyUnusable("The log “test” has no key here.")

    monkeypatch.setattr(signer, "load", none)
    assert found("checkpoints")[0] == ("warn", "The log “test” has no key here.")


def test_work_that_nobody_does_is_late(archive: Organization, lab: Organization) -> None:
    assert only("worker") == ("ok", "Nothing is overdue.")
    ago = timezone.now() - timedelta(minutes=30)
    with system("leave an event lying in a test"):
        StripeEvent.objects.create(
            id="evt_1", type="x", livemode=False, body={}, next_attempt_at=ago
        )

    assert only("worker") == ("fail", "1 events of Stripe are due, the oldest for 30 minutes.")
    assert Command.objects.count() == 0


def said_by_the_command(check: str) -> list[tuple[str, str, str]]:
    """What `doctor --json` says of one check: how bad, in which words, and the way out."""
    out = io.StringIO()
    with contextlib.suppress(CommandError):
        call_command("doctor", "--json", stdout=out)
    results = [each for each in json.loads(out.getvalue()) if each["check"] == check]
    return [(each["level"], each["text"], each["way_out"]) for each in results]


def test_events_without_a_place_and_deliveries_that_nobody_makes_are_late(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = caller_for(archive)
    endpoint, _secret = webhooks.create(caller, url="https://hooks.example.org/")
    well = [("ok", "Events have their places, and no webhook is behind.", "")]
    assert said_by_the_command("deliveries") == well
    webhooks.test(caller, endpoint.pk)
    later(monkeypatch, seconds=50)
    assert said_by_the_command("deliveries")[0][0] == "ok"
    for minutes, level in ((5, "warn"), (11, "fail")):
        later(monkeypatch, minutes=minutes)
        [(found_level, text, way_out)] = said_by_the_command("deliveries")
        assert (found_level, text) == (
            level,
            f"1 events wait for their places in a feed, the oldest for {minutes} minutes.",
        )
        assert "manage.py worker" in way_out

    webhook_deliveries.queue_new()
    later(monkeypatch, minutes=14)
    assert said_by_the_command("deliveries") == well
    for minutes, level, age in ((16, "warn", "16 minutes"), (121, "fail", "2 hours")):
        later(monkeypatch, minutes=minutes)
        [(found_level, text, way_out)] = said_by_the_command("deliveries")
        assert (found_level, text) == (
            level,
            f"1 deliveries to webhooks are overdue, the oldest for {age}.",
        )
        assert "manage.py worker" in way_out
    # It fails, and is left alone until then: nobody is late.
    with system("let an endpoint rest in a test"):
        resting = timezone.now() + timedelta(minutes=121)
        WebhookEndpoint.objects.update(
            failures=1, failing_since=timezone.now(), rests_until=resting
        )
    assert said_by_the_command("deliveries") == well


def test_webhooks_that_failed_until_they_were_disabled_are_named(archive: Organization) -> None:
    made = [
        webhooks.create(caller_for(archive), url="https://hooks.example.org/")[0]
        for _each in range(3)
    ]
    failing, gone, by_its_owner = made
    reasons = ((failing, "failing"), (gone, "gone"), (by_its_owner, "owner"))
    with system("disable endpoints in a test"):
        for endpoint, because in reasons:
            webhooks.disable(endpoint, because)
    [(level, text, way_out)] = said_by_the_command("deliveries")
    assert (level, text) == (
        "warn",
        f"Webhooks that were disabled because they took nothing for days: {failing.pk}.",
    )
    assert "have sent what they missed" in way_out
    webhooks.change(caller_for(archive), failing.pk, disabled=False)
    assert said_by_the_command("deliveries")[0][0] == "ok"


def test_what_stripe_does_not_deliver_or_agree_with_is_said(
    archive: Organization, lab: Organization
) -> None:
    assert only("webhooks") == ("warn", "Stripe has delivered no event yet.")
    ago = timezone.now() - timedelta(hours=3)
    with system("tell of events in a test"):
        StripeEvent.objects.create(
            id="evt_1", type="x", livemode=False, body={}, received_at=ago, **handled(ago)
        )
        assert only("webhooks") == ("ok", "Stripe delivered its last event 3 hours ago.")
        StripeEvent.objects.create(
            id="evt_2", type="x", livemode=False, body={}, is_fetched=True, last_error="no"
        )
        Mismatch.objects.create(livemode=False, kind="unknown_type", subject="txn_1")

    assert found("webhooks") == [
        ("fail", "1 events of Stripe fail each time."),
        ("warn", "Stripe delivered its last event 3 hours ago; newer ones had to be fetched."),
    ]
    assert only("books") == ("fail", "1 mismatches with Stripe are open, the oldest for 0 seconds.")


def handled(at: datetime) -> dict[str, Any]:
    return {"handled_at": at, "next_attempt_at": None}


def test_a_list_of_erasures_that_lost_somebody_is_a_failure(
    outside: Path, lab: Organization
) -> None:
    organizations.admit(
        lab, email="q@example.org", name="Quill", password="correct horse battery", role="viewer"
    )
    erasures.erase(erasures.Person(email="q@example.org"))
    assert only("erasures")[0] == "ok"

    [file] = (outside / "list" / "erasures").iterdir()
    file.unlink()

    level, text = only("erasures")
    assert (level, "lacks 1 erasures: a restore would bring these people back" in text) == (
        "fail",
        True,
    )


def test_a_clock_that_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch, seconds=2)
    assert only("clock")[0] == "warn"
    later(monkeypatch, seconds=60)
    level, text = only("clock")
    assert (level, " s apart." in text) == ("fail", True)


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(free: int) -> None:
        monkeypatch.setattr(checkup.shutil, "disk_usage", lambda _place: _Usage(free))

    usage(50)
    assert {level for level, _text in found("disks")} == {"ok"}
    usage(14)
    assert {level for level, _text in found("disks")} == {"warn"}
    usage(4)
    assert {level for level, _text in found("disks")} == {"fail"}


def test_the_disk_of_the_erasures_is_looked_at_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "ERASURES", str(tmp_path / "volume" / "erasures"))
    Path(tmp_path, "volume").mkdir()
    looked: list[Path] = []
    plain = os.stat

    def stat(place: Any, *more: Any, **named: Any) -> Any:
        looked.append(Path(place))
        return plain(place, *more, **named)

    monkeypatch.setattr(checkup.os, "stat", stat)
    found("disks")

    assert Path(tmp_path, "volume") in looked


class _Usage:
    total = 100

    def __init__(self, free: int) -> None:
        self.free = free


def test_production_is_held_to_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def levels() -> dict[str, str]:
        return {check: found(check)[-1][0] for check in ("mail", "second_place", "secrets")}

    monkeypatch.setattr(settings, "LEDGER_EXPORT", "")
    assert levels() == {"mail": "warn", "second_place": "warn", "secrets": "warn"}

    monkeypatch.setattr(settings, "DEVELOPMENT", False)
    monkeypatch.setattr(settings, "SECRET_KEY", "short")
    monkeypatch.setattr(settings, "METRICS_TOKEN", "short")
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", ["*"])
    assert levels() == {"mail": "fail", "second_place": "fail", "secrets": "fail"}
    assert [text for _level, text in found("secrets")] == [
        "Too short to be a secret: LICET_SECRET_KEY, LICET_METRICS_TOKEN.",
        "LICET_BASE_URL is http://127.0.0.1:8000: cookies and keys travel in the open.",
        "LICET_ALLOWED_HOSTS lets any name in.",
    ]


def test_a_mail_server_that_is_away_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "EMAIL_HOST", "127.0.0.1")
    monkeypatch.setattr(settings, "EMAIL_PORT", free_port())
    monkeypatch.setattr(settings, "EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend")
    [result] = [each for each in checkup.examine() if each.check == "mail"]
    assert (result.level, "refused" in result.text) == (Level.FAIL, True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_missing_style_sheets_and_lonely_operators_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert only("static")[0] == "ok"
    monkeypatch.setattr(settings, "STATIC_ROOT", tmp_path)
    monkeypatch.setattr(settings, "WHITENOISE_USE_FINDERS", False)
    assert only("static")[0] == "fail"

    assert only("operators") == ("warn", "Nobody is an operator.")
    operators.appoint(email="o@example.org", name="O", password="correct horse 1")
    assert only("operators")[0] in {"warn", "fail"}
