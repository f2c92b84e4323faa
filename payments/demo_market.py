"""A small market that lives: what `make run` opens on. Made through the public API alone."""

from __future__ import annotations

import copy
import hashlib
import http.cookiejar
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from payments import demo_opt_out, demo_royalties
from payments.demo_opt_out import Client, Failed, Letter

WITHIN_SECONDS = 90
TERMS: dict[str, Any] = {
    "v": 1,
    "permit": [
        {
            "uses": ["pretrain", "finetune", "evaluate"],
            "territories": ["EU", "US", "GB"],
            "model_scope": "any_model_of_licensee",
        }
    ],
    "deny": [{"uses": ["retrieve_rag", "ground_display"]}],
    "exclusivity": "non_exclusive",
    "term": {"access_days": 365, "training_days": 365, "use_days": None},
    "output": {"max_verbatim_words": 200},
    "attribution": "in_model_docs",
    "redistribution": "none",
    "on_expiry": {"raw_copies_delete_within_days": 30, "weights": "keep_and_continue"},
}
LETTERS = "Harbor Gazette, letters to the editor"
FIELD_NOTES = "Field notes of a bird watcher"
NIGHT_NOTES = "Night migration, transcribed"
_SEEN = (
    (
        "Brent geese at first light",
        "Two hundred brent geese on the mud flats, all facing the wind.",
    ),
    ("A kingfisher under the bridge", "One flash of blue, twice, and then the river as before."),
    ("Starlings over the harbor", "The flock folded, opened, and came down on the reeds at once."),
    ("An owl on the fence", "It looked at me for a minute and found nothing to change its mind."),
    ("Swifts, and then none", "Yesterday forty; this morning the sky over the street is empty."),
    ("Oystercatchers arguing", "Five of them on one rock, each of them right."),
)


class Script(Protocol):
    """Says what is being done, as `demo.Script` does."""

    def step(self, label: str) -> AbstractContextManager[None]: ...


@dataclass(frozen=True)
class People:
    """Each party's client of the API, and who presses the button of a pay page."""

    archive: Client
    creator: Client
    lab: Client
    pay: Callable[[str], None]


def fill(script: Script, people: People, web_url: str, simulator_url: str) -> None:
    """Have them list, buy, pay, opt out, ask and report, once. Raises Failed.

    All of it happens now: the ledger's times are true, and so the figures begin this month.
    """
    archive, creator, lab = people.archive, people.creator, people.lab
    with script.step("Demo archive lists letters, and promises their writers 40 %"):
        gazette = _collection(
            archive, LETTERS, "Ada Archivist", "What readers wrote to a newspaper."
        )
        letters = [demo_opt_out.write_letter(archive, gazette) for _each in range(3)]
        demo_royalties.set_rule(archive, gazette, letters)
        demo_royalties.open_account(archive)
        letters_offer = _offer(archive, gazette, "Train for a year", 250_000, invoice_days=[30])
    with script.step("Demo creator lists field notes, a short license, and one on request"):
        notes = _collection(
            creator, FIELD_NOTES, "Mira Feather", "Short notes, each of one morning."
        )
        for title, text in _SEEN:
            _write(creator, notes, title, text)
        demo_royalties.open_account(creator)
        notes_offer = _offer(creator, notes, "Train for a year", 90_000)
        short_offer = _offer(creator, notes, "Evaluate for two weeks", 12_000, days=14)
        night = _collection(creator, NIGHT_NOTES, "Mira Feather", "Calls in the dark, as words.")
        _write(
            creator, night, "Redwings, 02:10", "Thin calls from the east, one every few breaths."
        )
        asked = _offer(creator, night, "On request", 60_000, access="on_request")
    with script.step("Demo lab licenses three of them, and pays (simulated: no money moves)"):
        orders = [_buy(lab, offer) for offer in (letters_offer, notes_offer, short_offer)]
        for order in orders:
            people.pay(order["checkout_url"])
        for order in orders:
            _granted(lab, order["id"])
    with script.step("It orders one more on invoice, and asks for the one on request"):
        _buy(lab, letters_offer, method="invoice", net_days=30, purchase_order="PO-4711")
        _ask(lab, asked)
    with script.step("The letters' writers get their shares; one of them is paid (simulated)"):
        demo_royalties.statements(archive, orders[0]["id"], letters)
        demo_royalties.open_theirs(archive, letters[2])
        demo_royalties.pay_out(archive, letters[2], simulator_url)
    with script.step("Two writers take their letters out; the lab acknowledged one so far"):
        _opt_outs(archive, lab, letters)
    with script.step("Somebody reports a listing; it waits for the operator"):
        _report(web_url, notes_offer)


def _collection(seller: Client, name: str, person: str, about: str) -> str:
    made = seller.post(
        "/v1/collections",
        {"name": name, "description": about, "notice": "Demonstration: not an offer"},
    )
    seller.post(
        f"/v1/collections/{made['id']}/attestations",
        {
            "basis": "own",
            "statement": "Written for this demonstration.",
            "person_name": person,
            "person_title": "Head of rights",
            "authority": True,
        },
    )
    return str(made["id"])


def _write(seller: Client, collection: str, title: str, text: str) -> None:
    content = f"{title}\n\n{text}\n".encode()
    digest = hashlib.sha256(content).hexdigest()
    upload = seller.post("/v1/uploads", {"length": len(content), "sha256": digest})
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    seller.raw(f"/v1/uploads/{upload['id']}", content, headers, method="PATCH")
    seller.post(f"/v1/uploads/{upload['id']}/finish")
    body = {"upload": upload["id"], "external_id": f"notes/{digest[:8]}.txt", "title": title}
    seller.post(f"/v1/collections/{collection}/works", {**body, "media_type": "text/plain"})


def _offer(
    seller: Client, collection: str, name: str, price_minor: int, *, days: int = 365, **more: Any
) -> str:
    """A listed offer of the collection as it is now."""
    typed = copy.deepcopy(TERMS)
    typed["term"] = {"access_days": days, "training_days": days, "use_days": None}
    snapshot = seller.post(f"/v1/collections/{collection}/snapshots")
    terms = seller.post("/v1/terms", {"name": name, "typed": typed})
    seller.post(f"/v1/terms/{terms['id']}/publish")
    made = {"snapshot": snapshot["id"], "terms": terms["id"], "currency": "USD"}
    offer = seller.post("/v1/offers", {**made, "price_minor": price_minor, **more})
    return str(seller.post(f"/v1/offers/{offer['id']}/publish")["id"])


def _buy(lab: Client, offer: str, **how: Any) -> Any:
    quote = lab.post("/v1/quotes", {"offer": offer, "uses": ["pretrain"], "territories": ["EU"]})
    accept = {
        "document_sha256": quote["document_sha256"],
        "name": "Lin Labcoat",
        "title": "General counsel",
        "authority": True,
    }
    key = f"demo-{quote['id']}"
    return lab.post("/v1/orders", {"quote": quote["id"], "accept": accept, **how}, key=key)


def _granted(lab: Client, order: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        if lab.get(f"/v1/orders/{order}")["status"] == "granted":
            return
        time.sleep(0.1)
    raise Failed(f"Order {order} was not granted. See .data/logs/worker.log.")


def _ask(lab: Client, listing: str) -> None:
    lab.post(
        f"/v1/listings/{listing}/access-requests",
        {
            "uses": ["pretrain"],
            "territories": ["EU"],
            "model": {"name": "Atlas", "version": "3", "release": "closed_api"},
            "message": "We study how models describe sound.",
        },
    )


def _opt_outs(archive: Client, lab: Client, letters: list[Letter]) -> None:
    demo_opt_out.take_out(archive, letters[0])
    for notice in lab.get("/v1/notices?state=queued")["data"]:
        lab.post(
            f"/v1/notices/{notice['id']}/acknowledge",
            {
                "statement": "Left out of all runs from now on; copies deleted.",
                "name": "Lin Labcoat",
                "title": "General counsel",
            },
        )
    demo_opt_out.take_out(archive, letters[1])


def _report(web_url: str, listing: str) -> None:
    """As anybody does it: by the page, and its button."""
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    browser = urllib.request.build_opener(cookies)
    address = f"{web_url}/report/"
    page = browser.open(address, timeout=30).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    if token is None:
        raise Failed("The page of reports has no button.")
    said = {
        "csrfmiddlewaretoken": token[1],
        "target": listing,
        "ground": "law",
        "explanation": "One of these notes quotes a poem of mine at length.",
        "location": "The note about swifts, second sentence.",
        "name": "Rae Reader",
        "email": "reader@demo.example",
        "in_good_faith": "yes",
    }
    data = urllib.parse.urlencode(said).encode()
    request = urllib.request.Request(address, data, {"Referer": address})
    with browser.open(request, timeout=30) as done:
        if not done.geturl().startswith(f"{address}"):
            raise Failed("The report was not taken.")
