"""Clients that generators make from the document buy a license, in each language the same way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from licensing.offline import __main__ as command
from marketplace import access
from marketplace.models import WebhookAttempt
from payments.models import Order
from tests.clients import generating
from tests.clients.market import LISTINGS, Market, market
from tests.payments.buying import GRANTED_ONCE, made_of

__all__ = ["market"]

pytestmark = [pytest.mark.clients, pytest.mark.django_db(transaction=True)]


def said_by(program: generating.Program, market: Market) -> dict[str, Any]:
    """What a program printed as its last line, as JSON."""
    done = subprocess.run(
        program.command,
        env={**os.environ, **program.environ, **market.environ()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-5000:]}"
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.fixture
def program(request: pytest.FixtureRequest) -> generating.Program:
    """Built before a market is: or the test is skipped, with what this machine lacks."""
    return generating.LANGUAGES[request.param]()


@pytest.mark.parametrize("program", generating.LANGUAGES, indirect=True)
def test_a_generated_client_buys_a_license_through_a_bad_line(
    program: generating.Program, market: Market
) -> None:
    said = said_by(program, market)

    # It searched, and paged to the end.
    assert said["found"] == [market.offers[0]]
    assert sorted(said["paged"]) == sorted(market.offers)
    assert len(said["paged"]) == LISTINGS
    # Its order went over the line twice, with one key; the second answer is the first one's.
    [(first, *once), (second, *again)] = market.line.orders
    assert first == second != ""
    assert (once, again) == ([201, ""], [201, "true"])
    with access.system("look at what a client made"):
        [order] = Order.objects.all()
        [attempt] = WebhookAttempt.objects.all()
    assert said["order"] == str(order.pk)
    assert made_of({"id": str(order.pk)}) == GRANTED_ONCE
    # It took one webhook, of that grant, and none that was changed.
    assert (said["webhook"], said["forged"]) == (str(order.grant_id), "refused")
    assert attempt.status == 200
    # The receipt is of that grant's entry, and proves nothing of another one.
    assert (said["grant"], said["receipt"]) == (str(order.grant_id), "sound")
    assert said["changed_receipt"] == "refused"
    # A refusal has a type, and names the field.
    assert said["problem"] == {"status": 422, "code": "invalid_input", "param": "uses[0]"}


# --- the guide's program ----------------------------------------------------------------------

PAGE = (generating.ROOT / "api_docs/guide/python_client.md").read_text(encoding="utf-8")
LINES_MAX = 25


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_a_newcomer_buys_a_license_with_25_lines_of_their_own(
    market: Market, tmp_path: Path
) -> None:
    """What the guide says to type, in an empty directory: the client is made by its command."""
    [generate], [program] = blocks("bash"), blocks("python")
    own = [line for line in program.splitlines() if line and not re.match(r"(import|from) ", line)]
    assert 0 < len(own) <= LINES_MAX
    path = generating.python_path()
    tools = [str(generating.GENERATORS / "bin"), str(Path(sys.executable).parent)]
    market.line.is_bad = False
    here = tmp_path / "newcomer"
    here.mkdir()
    environ = {**os.environ, **market.environ(), "PYTHONPATH": path.partition(os.pathsep)[2]}
    environ["PATH"] = os.pathsep.join([*tools, os.environ["PATH"]])

    def run(arguments: list[str]) -> str:
        done = subprocess.run(
            arguments, cwd=here, env=environ, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-5000:]}"
        return done.stdout

    run(["bash", "-euc", generate])
    (here / "buy.py").write_text(program)
    said = run([sys.executable, "buy.py"])

    with access.system("look at what a client made"):
        [order] = Order.objects.select_related("quote")
    assert made_of({"id": str(order.pk)}) == GRANTED_ONCE
    assert said.splitlines()[-1] == f"{order.grant_id} is licensed"
    assert (here / "contract.txt").read_bytes() == order.quote.document.encode()
    receipt = str(here / "receipt.tlog-proof")
    assert command.main(["verify", receipt, "--key", market.vkey, "--allow-test"]) == 0
