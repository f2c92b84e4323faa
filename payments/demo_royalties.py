"""The demonstration's money: an account to be paid with, and royalties computed again."""

from __future__ import annotations

import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

from marketplace import money
from marketplace.typeid import TypeID
from payments import royalty_shares
from payments.demo_opt_out import Client, Failed, Letter
from payments.royalty_shares import Cut

WITHIN_SECONDS = 90
# Of what is the archive's, to the correspondents: 40 %.
BASIS_POINTS = 4_000
PARTS = (5, 3, 2)


def open_account(archive: Client) -> str:
    """Open the archive's account at Stripe, and complete it on Stripe's page. How it stands."""
    if archive.post("/v1/payout-account")["state"] != "active":
        _complete(str(archive.post("/v1/payout-account/links")["url"]))
    return _active(archive, "/v1/payout-account")


def _complete(link: str) -> None:
    """Tell Stripe everything on its page."""
    data = urllib.parse.urlencode({"action": "complete"}).encode()
    with urllib.request.urlopen(link, timeout=30) as page:
        # Where a link of ours led to.
        stripes = page.geturl()
    with urllib.request.urlopen(stripes, data=data, timeout=30) as back:
        # Led back to the market, which asks Stripe how the account stands.
        back.read()


def _active(archive: Client, path: str) -> str:
    account = archive.get(path)
    if account["state"] != "active":
        raise Failed(f"The account is “{account['state']}” and not active.")
    return f"account {account['id']}: {account['state']}"


def set_rule(archive: Client, collection: str, letters: list[Letter]) -> str:
    """Give the letters' correspondents their parts of every sale from now on."""
    rule = archive.post(
        "/v1/royalty-rules",
        {
            "collection": collection,
            "basis_points": BASIS_POINTS,
            "method": "fixed",
            "parts": [
                {"contributor": letter.contributor, "parts": parts}
                for letter, parts in zip(letters, PARTS, strict=True)
            ],
        },
    )
    return f"rule {rule['id']}: {BASIS_POINTS // 100} % in parts of {', '.join(map(str, PARTS))}"


def sent(archive: Client, order: str) -> str:
    """Wait until the archive's own share is sent. What it is."""
    sale = _wait(
        lambda: archive.get(f"/v1/sales/{order}"),
        lambda found: (found["transfer"] or {}).get("state") == "sent",
        "The archive's share was not sent.",
    )
    transfer = sale["transfer"]
    shown = money.show(transfer["sent_minor"], transfer["currency"])
    return f"transfer {transfer['id']}: {shown}"


def statements(archive: Client, order: str, letters: list[Letter]) -> list[str]:
    """Wait until a sale's pool is shared out; each correspondent's line, computed again."""
    _wait(
        lambda: archive.get("/v1/royalty-allocations?limit=50")["data"],
        lambda found: any(one["order"] == order and one["state"] == "done" for one in found),
        "The royalties were not shared out.",
    )
    said = []
    for letter in letters:
        now = datetime.now(UTC)
        asked = urllib.parse.urlencode(
            {
                "currency": "USD",
                "from": (now - timedelta(hours=1)).isoformat(),
                "to": (now + timedelta(hours=1)).isoformat(),
            }
        )
        path = f"/v1/contributors/{letter.contributor}/royalty-statement?{asked}"
        [line] = [one for one in archive.get(path)["lines"] if one["order"] == order]
        again = computed(line, letter.contributor)
        if again != line["amount_micro"]:
            raise Failed(f"A share is {line['amount_micro']}, and computed again {again}.")
        whole, rest = divmod(again, royalty_shares.MICRO_IN_MINOR)
        said.append(
            f"{letter.contributor}: {line['weight']} of {line['total_weight']} parts,"
            f" {money.show(whole, 'USD')}" + (f" and {rest} millionths of a cent" if rest else "")
        )
    return said


def open_theirs(archive: Client, letter: Letter) -> str:
    """Open a correspondent's account, who completes it by the link that the archive hands on."""
    path = f"/v1/contributors/{letter.contributor}/payout-account"
    archive.post(path, {"country": "DE"})
    _complete(str(archive.post(f"{path}/links")["lasting_url"]))
    return _active(archive, path)


def pay_out(archive: Client, letter: Letter, simulator_url: str) -> str:
    """Pay all that contributors are owed; wait until a correspondent with an account has it."""
    # What a sale brought is available at Stripe after some days: nobody waits for them here.
    with urllib.request.urlopen(f"{simulator_url}/_simulator/funds", data=b"{}", timeout=30):
        pass
    now = archive.post("/v1/royalty-payouts/preview", {"currency": "USD"})
    names = ("currency", "contributors", "paid_minor", "recouped_minor")
    payout = archive.post("/v1/royalty-payouts", {name: now[name] for name in names})["id"]

    def look() -> Any:
        listed = archive.get(f"/v1/royalty-payments?payout={payout}&limit=200")["data"]
        return next((one for one in listed if one["contributor"] == letter.contributor), None)

    payment = _wait(
        look,
        lambda found: found is not None and found["state"] == "paid",
        "The correspondent was not paid.",
    )
    paid = money.show(payment["amount_minor"], "USD")
    return f"payout {payout}: {now['contributors']} contributors; {paid} to {letter.contributor}"


def computed(line: dict[str, Any], contributor: str) -> int:
    """A line of a statement, computed again from what it shows: in millionths of a minor unit."""
    tie, whose = TypeID.parse("ral", line["tie"]), TypeID.parse("ctr", contributor)

    def share(kept_minor: int, moment: str) -> int:
        remainder, last = line[f"cut_{moment}_remainder"], line[f"cut_{moment}_hash"]
        cut = None if remainder is None else Cut(int(remainder), bytes.fromhex(last))
        return royalty_shares.share(
            kept_minor * royalty_shares.MICRO_IN_MINOR,
            line["weight"],
            line["total_weight"],
            cut,
            tie=tie,
            contributor=whose,
        )

    before = line["kept_before_minor"]
    return share(before + line["pool_minor"], "after") - share(before, "before")


def _wait(look: Any, is_so: Any, otherwise: str) -> Any:
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if is_so(found):
            return found
        time.sleep(1)
    raise Failed(f"{otherwise} See .data/logs/worker.log.")
