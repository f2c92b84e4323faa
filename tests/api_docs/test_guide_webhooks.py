"""The guide on webhooks: its table is the code's, and what it says to run verifies a request."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marketplace import events, webhook_deliveries, webhook_secrets
from marketplace.models import Event

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "api_docs/guide/webhooks.md").read_text(encoding="utf-8")
ID, BODY = "evt_01", b'{"type":"grant.issued"}'


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}[^\n]*\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def secret() -> bytes:
    return webhook_secrets.opened(webhook_secrets.new())


def request(secret: bytes, *, at: int) -> dict[str, str]:
    signature = webhook_secrets.signatures([secret], id=ID, timestamp=at, body=BODY)
    return {"webhook-id": ID, "webhook-timestamp": str(at), "webhook-signature": signature}


def test_the_table_of_types_is_the_one_of_the_code() -> None:
    assert dict(re.findall(r"(?m)^\| `(\w+\.\w+)` \| (.+) \|$", PAGE)) == events.TYPES


def test_the_document_names_every_type() -> None:
    document = json.loads((ROOT / "api_docs/openapi.json").read_text(encoding="utf-8"))
    assert document["components"]["schemas"]["EventTypeEnum"]["enum"] == sorted(events.TYPES)
    said = document["paths"]["/v1/events"]["get"]["description"]
    assert all(f"- `{name}`: {words}" in said for name, words in events.TYPES.items())


def test_the_document_describes_the_request_that_is_sent() -> None:
    document = json.loads((ROOT / "api_docs/openapi.json").read_text(encoding="utf-8"))
    sent = document["webhooks"]["event"]["post"]
    assert [each["name"] for each in sent["parameters"]] == list(request(bytes(64), at=0))
    shape, more = sent["requestBody"]["content"]["application/json"]["schema"]["allOf"]
    assert shape == {"$ref": "#/components/schemas/Event"}
    named = set(document["components"]["schemas"]["Event"]["properties"]) | set(more["properties"])
    assert named == set(webhook_deliveries.payload(Event(type="grant.issued", data={})))


def test_the_waits_are_those_of_the_schedule() -> None:
    said = "after 5 seconds, 5 minutes, 30 minutes, 2, 5, 10, 14, 20 and 24 hours"
    assert said in PAGE
    hours = [hour * 3600 for hour in (2, 5, 10, 14, 20, 24)]
    assert (5, 300, 1800, *hours) == webhook_deliveries.SCHEDULE_SECONDS


def test_its_python_takes_a_request_of_ours_and_no_other(secret: bytes) -> None:
    [code] = blocks("python")
    names: dict[str, Any] = {}
    exec(code, names)
    verify: Callable[..., bool] = names["verify"]
    now, shown = int(time.time()), webhook_secrets.shown(secret)
    assert verify(request(secret, at=now), BODY, shown) is True
    assert verify(request(secret, at=now), BODY + b" ", shown) is False
    assert verify(request(secret, at=now - 400), BODY, shown) is False
    assert verify(request(secret, at=now), BODY, "whsec_" + "A" * 43 + "=") is False


def test_what_it_says_to_do_by_hand_verifies(secret: bytes, tmp_path: Path) -> None:
    by_secret, by_key = blocks("bash")
    headers = request(secret, at=1_700_000_000)
    by_hmac, by_ed25519 = headers["webhook-signature"].split(" ")
    (tmp_path / "body.json").write_bytes(BODY)

    def run(code: str, signature: str) -> subprocess.CompletedProcess[str]:
        named = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "WEBHOOK_ID": ID,
            "WEBHOOK_TIMESTAMP": headers["webhook-timestamp"],
            "SECRET": webhook_secrets.shown(secret),
            "PUBLIC_KEY": webhook_secrets.public_key(secret),
            "SIGNATURE": signature,
        }
        return subprocess.run(
            ["bash", "-c", code],
            cwd=tmp_path,
            env=named,
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert "v1," + run(by_secret, "").stdout.strip() == by_hmac
    assert run(by_key, by_ed25519.removeprefix("v1a,")).returncode == 0
    (tmp_path / "signed").write_bytes(b"something else")
    assert run(by_key, by_ed25519.removeprefix("v1a,")).returncode != 0
