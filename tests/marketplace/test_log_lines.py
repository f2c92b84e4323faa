"""Lines of the log: one line of JSON for each record, whose it is, and no secret in it."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from marketplace import log_lines
from marketplace.log_lines import Doing, JsonLines, TextLines, during, note_organization


def record(message: str, *args: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("licet.test", logging.INFO, __file__, 1, message, args, None)
    vars(made).update(fields)
    return made


def test_a_record_is_one_line_of_json_whatever_it_says() -> None:
    said = record("a %s", 'line\nand "another\u2028\ud800', created=1_800_000_000.1239)

    text = JsonLines().format(said)

    assert len(text.splitlines()) == 1
    assert json.loads(text) == {
        "time": "2027-01-15T08:00:00.123Z",
        "level": "info",
        "logger": "licet.test",
        "message": 'a line\nand "another\u2028\ud800',
    }


def test_a_line_says_whose_request_or_which_job_it_belongs_to() -> None:
    with during(Doing(request_id="req_1")):
        before = json.loads(JsonLines().format(record("x")))
        note_organization("org_1")
        with during(Doing(job="ledger")):
            inside = json.loads(JsonLines().format(record("x")))
        after = json.loads(JsonLines().format(record("x", members={"status": 200})))
        text = TextLines().format(record("x"))
    outside = json.loads(JsonLines().format(record("x")))

    who = ("request_id", "organization", "job")
    shown = [{name: line[name] for name in who if name in line} for line in (before, inside, after)]
    assert shown == [
        {"request_id": "req_1"},
        {"job": "ledger"},
        {"request_id": "req_1", "organization": "org_1"},
    ]
    assert after["status"] == 200
    assert text.endswith(" INFO licet.test x [request_id=req_1 organization=org_1]")
    assert not set(who) & set(outside)
    note_organization("org_2")  # of nobody's request: nothing to say it of


def test_a_failure_is_told_with_its_traceback_and_without_its_secret() -> None:
    try:
        raise ValueError("no such key: licet_live_0123456789")
    except ValueError:
        failed = record("it failed", exc_info=sys.exc_info())

    line = json.loads(JsonLines().format(failed))

    assert line["message"] == "it failed"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: no such key: licet_live_[removed]")
    assert "0123456789" not in TextLines().format(failed)


TOKEN = "Zm9vYmFyYmF6cXV4-_Zm9v"


@pytest.mark.parametrize(
    "said",
    [
        f"Authorization: Bearer {TOKEN}",
        f"sk_live_{TOKEN[:16]}",
        f"rk_test_{TOKEN[:16]}",
        f"whsec_{TOKEN[:16]}",
        f"licet_test_{TOKEN[:16]}",
        f"pi_3Nabc_secret_{TOKEN[:16]}",
        f"GET /grants/grt_1/manifest?mode=test&expires=1&signature={TOKEN}",
        f"next=%2Fgrants%3Fsignature%3D{TOKEN}",
        f"Cookie: csrftoken={TOKEN}; sessionid={TOKEN}",
        f"postgresql://licet:{TOKEN}@127.0.0.1/licet",
        f"Not Found: /invitations/{TOKEN}",
        f"/opt-out/{TOKEN}",
        f"/sign-up/{TOKEN}",
        f"/report/{TOKEN}/",
        f"/moderation/{TOKEN}",
        f"/checkout/return/ord_01m8dg0ng5e0fre4d11ek7e0bz:{TOKEN}",
        f"/payout-account/again/acc_01m8dg0ng5e0fre4d11ek7e0bz:{TOKEN}",
        f"/login/password/{TOKEN}/",
    ],
)
def test_what_stands_for_a_login_is_removed(said: str) -> None:
    found = log_lines.without_secrets(said)

    assert log_lines.REMOVED in found
    assert TOKEN[:16] not in found


@pytest.mark.parametrize(
    "said",
    [
        "GET /v1/orders/ord_01m8dg0ng5e0fre4d11ek7e0bz 200",
        "https://c2sp.org/tlog-tiles is a specification",
        "the session ended; the signature is wrong",
        "payments.stripe_events ERROR evt_1: no such account",
    ],
)
def test_all_else_is_left_as_it_is(said: str) -> None:
    assert log_lines.without_secrets(said) == said


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, JsonLines),
        ({"LICET_DEBUG": "1"}, TextLines),
        ({"LICET_DEBUG": "1", "LICET_LOG_FORMAT": "json"}, JsonLines),
        ({"LICET_LOG_FORMAT": "text"}, TextLines),
    ],
)
def test_production_writes_json_and_development_text(
    environment: dict[str, str], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LICET_DEBUG", "LICET_LOG_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert type(log_lines.formatter()) is kind
