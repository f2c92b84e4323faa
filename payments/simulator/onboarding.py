"""The onboarding page that a seller sees, as plain HTML forms."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs

from payments.simulator import account_links, account_requirements, accounts
from payments.simulator.account_links import PREFIX
from payments.simulator.pages import Page, _document
from payments.simulator.state import Resource, World


def show(world: World, id: str) -> Page:
    """The page behind a link, once; after that, and too late, the way to `refresh_url`."""
    with world.change():
        record = world.find(account_links.KIND, id)
        if record is None:
            return _document(404, "Nothing to fill in", "<p>No account link has this address.</p>")
        account = world.get(accounts.KIND, record["link"]["account"])
        if account["closed"] or not account_links.visit(world, record):
            return Page(303, location=account_links.urls(record)[0])
        return _page(account, id)


def submit(world: World, id: str, body: bytes) -> Page:
    """A button was pressed. A second press finds a link that was used."""
    action = parse_qs(body.decode("utf-8", "replace")).get("action", [""])[0]
    if action not in {"complete", "leave_out", "refuse"}:
        return _document(
            400,
            "Unknown button",
            "<p>The form has the buttons Complete, Leave something out and Be refused.</p>",
        )
    with world.change():
        record = world.find(account_links.KIND, id)
        if record is None:
            return _document(404, "Nothing to fill in", "<p>No account link has this address.</p>")
        refresh_url, return_url = account_links.urls(record)
        account = world.get(accounts.KIND, record["link"]["account"])
        if account["closed"] or not account_links.use(world, record):
            return Page(303, location=refresh_url)
        if action == "complete":
            # Who was rejected stays so: no form changes that.
            if not account_requirements.is_rejected(account):
                accounts.complete(world, account["id"])
        elif action == "leave_out":
            accounts.leave_out(world, account["id"])
        else:
            accounts.refuse(world, account["id"])
        account_links.returned(world, record)
        if return_url is None:
            return _document(200, "Done", "<p>You can close this page.</p>")
        return Page(303, location=return_url)


def _page(account: Resource, id: str) -> Page:
    name = escape(account["display_name"] or account["contact_email"] or account["id"])
    rows = "".join(
        f"<tr><td>{escape(each['description'])}</td>"
        f"<td>{escape(each['minimum_deadline']['status'])}</td></tr>"
        for each in account_requirements.entries(account)
    )
    asked = (
        f"<table><thead><tr><th>Asked for</th><th>Due</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        if rows
        else "<p>Nothing is asked for.</p>"
    )
    rejected = (
        '<p class="trouble" role="alert">This account was refused.</p>'
        if account_requirements.is_rejected(account)
        else ""
    )
    # The address is relative: a browser may know this machine under another name.
    target = f"{PREFIX}{escape(id, quote=True)}"
    buttons = "".join(
        f'<form method="post" action="{target}"><button{style} name="action" value="{action}">'
        f"{label}</button></form>"
        for action, label, style in (
            ("complete", "Complete", ' class="go"'),
            ("leave_out", "Leave something out", ""),
            ("refuse", "Be refused", ""),
        )
    )
    return _document(200, f"Onboarding of {name}", rejected + asked + buttons)
