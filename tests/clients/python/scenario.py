"""A buyer's program in Python, with the generated client: from a search to a verified receipt."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import queue
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, TypeVar

import httpx
import metamorphic_log
from licet_client import AuthenticatedClient
from licet_client.api.grants import get_grant, get_grant_receipt
from licet_client.api.listings import list_listings
from licet_client.api.orders import create_order, get_order
from licet_client.api.quotes import create_quote
from licet_client.api.webhook_endpoints import create_webhook_endpoint
from licet_client.models import (
    AcceptBodyRequest,
    CreateWebhookEndpointRequest,
    Grant,
    Listing,
    ListingPage,
    MakeQuoteRequest,
    Order,
    OrderStatusEnum,
    PlaceOrderRequest,
    Problem,
    Quote,
    WebhookEndpointWithSecret,
)
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

T = TypeVar("T")
VKEY = os.environ["LICET_VKEY"]
market = AuthenticatedClient(
    base_url=os.environ["LICET_URL"], token=os.environ["LICET_KEY"], timeout=httpx.Timeout(60)
)


def expected(kind: type[T], answer: Any) -> T:
    """The answer, where it is of this kind; a refusal ends the program."""
    if not isinstance(answer, kind):
        raise SystemExit(f"not a {kind.__name__}: {answer}")
    return answer


# --- webhooks: a server of our own ------------------------------------------------------------


class Inbox:
    """Takes webhooks, and keeps those that the market signed."""

    def __init__(self) -> None:
        self.secret = ""
        self.taken: queue.Queue[dict[str, Any]] = queue.Queue()
        self.forged = "accepted"
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                verifier = Webhook(inbox.secret)
                try:
                    verifier.verify(body.replace(b"grt_", b"grx_"), headers)
                except WebhookVerificationError:
                    inbox.forged = "refused"
                event = verifier.verify(body, headers)
                self.send_response(200)
                self.end_headers()
                inbox.taken.put(event)

            def log_message(self, *_arguments: Any) -> None:
                """Says nothing."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()


# --- receipts: with a verifier of transparency logs by other people ---------------------------


def entry_of(receipt: str) -> bytes:
    extra = receipt.split("\n")[1].removeprefix("extra ")
    entry: str = json.loads(base64.b64decode(extra))["entry"]
    return entry.encode()


def verdict(receipt: str, entry: bytes) -> str:
    """Whether a receipt proves that this entry stands in the market's log."""
    head, checkpoint = receipt.split("\n\n", 1)
    _, _, index, *proof = head.split("\n")
    try:
        metamorphic_log.checkpoint_verify_inclusion(
            checkpoint,
            [VKEY],
            int(index.removeprefix("index ")),
            hashlib.sha256(b"\0" + entry).digest(),
            [base64.b64decode(step) for step in proof],
        )
    except metamorphic_log.VerifyError:
        return "refused"
    return "sound"


def all_listings() -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = expected(ListingPage, list_listings.sync(client=market, limit=2, **more))
        found += [listing.id for listing in page.data]
        cursor = page.next_cursor
        if not page.has_more:
            return found


def place(quote: Quote) -> Order:
    """Accept a quote. After a lost answer, the same request is sent again: it makes one order."""
    accept = AcceptBodyRequest(
        document_sha256=quote.document_sha256, name="Lin Chen", title="Counsel", authority=True
    )
    body = PlaceOrderRequest(quote=quote.id, accept=accept)
    key = str(uuid.uuid4())
    for _attempt in range(3):
        try:
            answer = create_order.sync(client=market, body=body, idempotency_key=key)
            return expected(Order, answer)
        except httpx.TransportError:
            continue
    raise SystemExit("no answer")


def granted(order: Order) -> str:
    """Wait until somebody paid the order, and its license was given."""
    for _attempt in range(300):
        order = expected(Order, get_order.sync(order.id, client=market))
        if order.status == OrderStatusEnum.GRANTED:
            return str(order.grant)
        time.sleep(0.1)
    raise SystemExit(f"not granted: {order.status}")


def receipt_of(grant: str) -> str:
    for _attempt in range(30):
        answer = get_grant_receipt.sync(grant, client=market, wait=1)
        if isinstance(answer, str):
            return answer
    raise SystemExit("no receipt")


def quote_for(listing: Listing, use: str) -> Quote | Problem | None:
    body = MakeQuoteRequest(offer=listing.id, uses=[use], territories=["DE"])
    return create_quote.sync(client=market, body=body)


def refusal(listing: Listing) -> dict[str, Any]:
    problem = expected(Problem, quote_for(listing, "\u2603"))
    return {"status": problem.status, "code": problem.code, "param": problem.param}


def main() -> None:
    inbox = Inbox()
    wanted = CreateWebhookEndpointRequest(url=inbox.url, types=["grant.issued"])
    endpoint = create_webhook_endpoint.sync(client=market, body=wanted)
    inbox.secret = str(expected(WebhookEndpointWithSecret, endpoint).secret)

    found = expected(ListingPage, list_listings.sync(client=market, q="herbarium")).data
    order = place(expected(Quote, quote_for(found[0], "pretrain")))
    grant = expected(Grant, get_grant.sync(granted(order), client=market))
    event = inbox.taken.get(timeout=30)
    receipt = receipt_of(grant.id)
    entry = entry_of(receipt)
    if json.loads(entry)["grant_ref"] != grant.ledger.grant_ref:
        raise SystemExit("a receipt of something else")
    said = {
        "found": [listing.id for listing in found],
        "paged": all_listings(),
        "order": order.id,
        "grant": grant.id,
        "webhook": event["data"]["grant"],
        "forged": inbox.forged,
        "receipt": verdict(receipt, entry),
        "changed_receipt": verdict(receipt, entry + b" "),
        "problem": refusal(found[0]),
    }
    print(json.dumps(said))


main()
