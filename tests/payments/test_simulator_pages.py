"""The pay page: what a buyer sees and presses, and who may not press anything."""

from __future__ import annotations

import html.parser
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

import pytest

from tests.payments.simulator_account import Account, account, line

__all__ = ["account"]


class Reader(html.parser.HTMLParser):
    """Reads a page as a browser does: its words, links, forms and buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.buttons: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._action = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.tags.append((tag, named))
        if tag == "a":
            self.links.append(named["href"])
        elif tag == "form":
            assert named["method"] == "post"
            self._action = named["action"]
        elif tag == "button":
            self.buttons[named["value"]] = self._action

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@dataclass
class Shown:
    status: int
    headers: Any
    text: str
    page: Reader

    def says(self, words: str) -> bool:
        return words in " ".join("".join(self.page.words).split())


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        return None


def browse(account: Account, address: str, body: bytes | None = None, **headers: str) -> Shown:
    """One request, as a browser makes it; a redirect is shown and not followed."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        urllib.parse.urljoin(account.url, address), data=body, headers=named
    )
    try:
        answer = urllib.request.build_opener(_Stay).open(request, timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read().decode()
        page = Reader()
        page.feed(text)
        return Shown(answer.status, answer.headers, text, page)


def press(account: Account, shown: Shown, button: str) -> Shown:
    return browse(account, shown.page.buttons[button], f"action={button}".encode())


def pay_page(account: Account, **changed: Any) -> Shown:
    url = account.open(**changed).url
    assert url is not None
    return browse(account, url)


def test_the_page_says_what_is_sold_and_that_no_money_moves(account: Account) -> None:
    shown = pay_page(account, line_items=[line("License “A & B”", 125_000, quantity=2)])

    assert shown.status == 200
    assert shown.says("Simulated: no money moved.")
    assert shown.says("License “A & B” × 2")
    assert shown.says("2,500.00 USD")
    assert list(shown.page.buttons)[:3] == ["pay", "decline", "require_action"]
    assert "https://market.example/cancel" in shown.page.links


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(5_000, "jpy", "5,000 JPY"), (12_340, "kwd", "12.340 KWD"), (105, "eur", "1.05 EUR")],
)
def test_amounts_read_as_their_currency_is_written(
    account: Account, amount: int, currency: str, text: str
) -> None:
    assert pay_page(account, line_items=[line("A", amount, currency=currency)]).says(text)


def test_the_page_works_without_scripts_for_keyboard_and_phone(account: Account) -> None:
    shown = pay_page(account)

    tags = [tag for tag, _attributes in shown.page.tags]
    assert "script" not in tags
    assert ("html", {"lang": "en"}) in shown.page.tags
    assert "width=device-width" in shown.text
    # Real buttons in real forms: a keyboard reaches and presses them as they are.
    assert tags.count("form") == tags.count("button") == len(shown.page.buttons) > 10
    assert ":focus-visible" in shown.text


def test_text_of_the_seller_stays_text(account: Account) -> None:
    shown = pay_page(
        account,
        line_items=[line("<script>alert(1)</script>", 100)],
        cancel_url='https://market.example/"onmouseover="x',
    )

    assert "<script>" not in shown.text
    assert shown.says("<script>alert(1)</script>")
    assert not any("onmouseover" in attributes for _tag, attributes in shown.page.tags)


def test_pay_leads_back_to_the_market(account: Account) -> None:
    session = account.open()
    assert session.url is not None

    answer = press(account, browse(account, session.url), "pay")

    assert answer.status == 303
    assert answer.headers["Location"] == f"https://market.example/return?session={session.id}"
    assert account.retrieve(session.id).payment_status == "paid"


def test_pay_pressed_twice_charges_once(account: Account) -> None:
    shown = pay_page(account)

    answers = [press(account, shown, "pay") for _press in range(2)]

    assert [answer.status for answer in answers] == [303, 303]
    assert len(account.client.v1.charges.list().data) == 1


def test_a_decline_is_said_and_the_buyer_can_pay_after_it(account: Account) -> None:
    session = account.open()
    assert session.url is not None
    answer = press(account, browse(account, session.url), "decline")
    assert (answer.status, answer.headers["Location"]) == (303, session.url)

    again = browse(account, answer.headers["Location"])

    assert again.says("Your card was declined. You can try again.")
    assert press(account, again, "pay").status == 303
    assert account.retrieve(session.id).payment_status == "paid"


def test_a_paid_page_says_so_and_has_no_button(account: Account) -> None:
    session = account.open()
    assert session.url is not None
    account.control(f"sessions/{session.id}/pay", {})

    shown = browse(account, session.url)

    assert shown.says("This is paid")
    assert shown.page.buttons == {}
    assert shown.page.links == [f"https://market.example/return?session={session.id}"]


def test_an_expired_page_says_so_and_charges_nothing(account: Account) -> None:
    session = account.open(expires_at=int(time.time()) + 31 * 60)
    assert session.url is not None
    before = browse(account, session.url)
    account.control("clock", {"advance_seconds": 31 * 60})

    shown, pressed = browse(account, session.url), press(account, before, "pay")

    for page in (shown, pressed):
        assert page.status == 200
        assert page.says("This page has expired")
        assert page.page.buttons == {}
    assert account.client.v1.charges.list().data == []


def test_an_unknown_page_is_404(account: Account) -> None:
    assert browse(account, "/pay/cs_test_dev_none").status == 404
    assert browse(account, "/pay/cs_test_dev_none", b"action=pay").status == 404


def test_an_unknown_button_does_nothing(account: Account) -> None:
    session = account.open()
    assert session.url is not None

    assert browse(account, session.url, b"action=steal").status == 400
    assert account.retrieve(session.id).status == "open"


def test_pages_run_no_scripts_and_cannot_be_framed(account: Account) -> None:
    headers = pay_page(account).headers

    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


def test_another_website_cannot_press_a_button(account: Account) -> None:
    session = account.open()
    assert session.url is not None

    answer = browse(account, session.url, b"action=pay", Sec_Fetch_Site="cross-site")
    control = browse(
        account, f"/_simulator/sessions/{session.id}/pay", b"{}", Sec_Fetch_Site="cross-site"
    )

    assert (answer.status, control.status) == (403, 403)
    assert account.retrieve(session.id).status == "open"


@pytest.mark.parametrize("host", ["market.example", "127.0.0.1.market.example", "10.0.0.1", ""])
def test_a_foreign_name_for_this_machine_is_refused(account: Account, host: str) -> None:
    for path in ("/", "/v1/events", "/_simulator/requests"):
        assert browse(account, path, Host=host).status == 403


def test_the_front_page_lists_the_sessions(account: Account) -> None:
    assert browse(account, "/").says("No Checkout session was made yet.")
    session = account.open()

    shown = browse(account, "/")

    assert shown.status == 200
    assert shown.page.links == [f"/pay/{session.id}"]
    assert shown.says("595.00 USD")
