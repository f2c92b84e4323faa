"""Test mode and live mode in the workspace: two worlds of one organization, and the way between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from licensing import access_requests, optouts
from marketplace import api_keys, organizations, works
from marketplace.access import Caller, acting, system
from marketplace.models import ApiKey, Organization
from marketplace.models.tenants import ApiKeyQuerySet
from marketplace.tenant_pages import own
from marketplace.tenant_site import studio
from payments import quotes
from payments.models import Quote
from tests.make import make_collection, make_grant, make_offer, make_trader
from tests.people import caller_for
from tests.security.studio_world import SIDES, VERB_FORMS, fresh
from tests.webhooks import hear

pytestmark = pytest.mark.django_db
MODE, ORGANIZATION, KEYS = "/studio/mode/", "/studio/organization/", "/studio/marketplace/apikey/"
PASSWORD = "correct horse battery"


def member(
    organization: Organization, role: str = "owner", *, email: str = "", **options: Any
) -> Client:
    """A member's client. The same role elsewhere is the same person, unless said otherwise."""
    user = organizations.admit(
        organization,
        email=email or f"{role}@example.org",
        name=role,
        password=PASSWORD,
        role=role,
    )
    client = Client(raise_request_exception=False, **options)
    client.force_login(user)
    return client


def turn(client: Client, mode: str) -> Any:
    return client.post(MODE, {"mode": mode}, follow=True)


def rows(model: Any) -> list[Any]:
    with system("read rows in a test"):
        return list(model.objects.all())


def text(answer: Any) -> str:
    return str(answer.content.decode())


def banner(answer: Any) -> str:
    [found] = re.findall(r'<p class="mode \w+">.*?<strong>(.*?)</strong>', text(answer))
    return str(found)


# --- turning ----------------------------------------------------------------------------------


def test_a_session_begins_in_test_mode_and_each_page_says_which_it_is(
    archive: Organization, ledger_keys: object
) -> None:
    client = member(archive)
    pages = ["/studio/", KEYS, f"{KEYS}add/", MODE, "/studio/payout-account/", "/studio/market/"]
    assert {banner(client.get(page)) for page in pages} == {"Test mode"}

    answer = turn(client, "live")
    assert "You work in live mode now." in text(answer)
    assert {banner(client.get(page)) for page in pages} == {"Live mode"}
    assert "It stands so already" in text(turn(client, "live"))

    answer = turn(client, "test")
    assert "You work in test mode now." in text(answer)
    assert banner(answer) == "Test mode"


def test_no_link_turns_the_mode_and_no_other_mode_is_known(archive: Organization) -> None:
    client = member(archive)
    assert client.get(MODE, {"mode": "live"}).status_code == 200
    for mode in ("", "LIVE", "both", str(archive.pk)):
        assert client.post(MODE, {"mode": mode}).status_code == 404
    assert banner(client.get(MODE)) == "Test mode"


def test_who_is_nobody_to_the_law_is_told_what_is_missing_and_where_to_say_it(
    archive: Organization,
) -> None:
    with system("a test empties an identity"):
        Organization.objects.filter(pk=archive.pk).update(contact_email="")
    client = member(archive)

    answer = turn(client, "live")

    assert "You are still in test mode." in text(answer)
    assert "Contact email" in text(answer)
    assert 'href="/studio/identity/"' in text(answer)
    assert banner(answer) == "Test mode"
    assert 'value="live"' not in text(answer).partition('id="content"')[2]
    viewer = turn(member(archive, "viewer"), "live")
    assert "Who can: owner" in text(viewer)


def test_what_the_law_must_know_is_asked_again_and_live_mode_ends_for_good(
    archive: Organization,
) -> None:
    client = member(archive)
    turn(client, "live")
    caller = caller_for(archive)
    organizations.identify(caller, contact_email="")
    assert banner(client.get(MODE)) == "Test mode"

    organizations.identify(caller, contact_email="legal@example.org")

    assert banner(client.get(MODE)) == "Test mode"


@pytest.mark.parametrize("role", ["viewer", "finance"])
def test_live_mode_gives_a_role_no_more_than_it_has(archive: Organization, role: str) -> None:
    client = member(archive, role)
    assert "You work in live mode now." in text(turn(client, "live"))
    answer = client.post(f"{KEYS}add/", {"name": "New", "scopes": ["works:read"]})
    assert answer.status_code == 403
    assert rows(ApiKey) == []


def test_another_organization_begins_in_test_mode_and_so_does_the_way_back(
    archive: Organization, lab: Organization
) -> None:
    client = member(archive)
    member(lab)
    turn(client, "live")

    answer = client.post(ORGANIZATION, {"organization": str(lab.pk)}, follow=True)
    assert banner(answer) == "Test mode"

    back = client.post(ORGANIZATION, {"organization": str(archive.pk)}, follow=True)
    assert banner(back) == "Test mode"


def test_who_leaves_an_organization_leaves_its_live_mode(
    archive: Organization, lab: Organization
) -> None:
    client = member(archive)
    member(lab)
    turn(client, "live")
    with system("end a membership in a test"):
        archive.memberships.all().delete()
    answer = client.get("/studio/")
    assert "Lab" in text(answer)
    assert banner(answer) == "Test mode"


def token(answer: Any) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', text(answer))
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize("to", ["mode", "organization"])
def test_a_form_that_was_shown_before_the_turn_is_not_sent_after_it(
    archive: Organization, lab: Organization, to: str
) -> None:
    client = member(archive, enforce_csrf_checks=True)
    member(lab)
    shown = token(client.get(f"{KEYS}add/"))
    sent = {"mode": "live"} if to == "mode" else {"organization": str(lab.pk)}
    url = MODE if to == "mode" else ORGANIZATION
    assert client.post(url, {**sent, "csrfmiddlewaretoken": shown}).status_code == 302

    form = {"name": "New", "scopes": ["works:read"], "csrfmiddlewaretoken": shown}
    refused = client.post(f"{KEYS}add/", form)

    assert refused.status_code == 403
    assert rows(ApiKey) == []
    anew = {**form, "csrfmiddlewaretoken": token(client.get(f"{KEYS}add/"))}
    assert client.post(f"{KEYS}add/", anew).status_code == 302
    [key] = rows(ApiKey)
    assert key.livemode == (to == "mode")


def test_an_old_session_that_comes_back_is_not_in_live_mode(archive: Organization) -> None:
    client = member(archive)
    turn(client, "live")
    old = dict(client.session.items())
    turn(client, "test")

    session = client.session
    session.update(old)
    session.save()

    assert banner(client.get("/studio/")) == "Test mode"


# --- two worlds -------------------------------------------------------------------------------


class World:
    """An organization with a row of each kind that knows modes, in both."""

    def __init__(self, organization: Organization, other: Organization) -> None:
        self.organization = organization
        for party in (organization, other):
            make_trader(party)
        free = make_offer(organization, price_minor=0)
        theirs = make_collection(other, works=2)
        held = make_offer(other, price_minor=0, collection=theirs)
        asked = make_offer(organization, price_minor=0, access="on_request")
        for livemode in (False, True):
            caller = caller_for(organization, livemode=livemode)
            buyer = caller_for(other, livemode=livemode)
            api_keys.create(caller, name="key", scopes=["works:read"])
            hear(caller, "https://hooks.example.org/", "Later.")
            make_grant(organization, other, livemode=livemode, offer=free)
            make_grant(other, organization, livemode=livemode, offer=held)
            quotes.make(caller, offer=str(held.pk), uses=["pretrain"], territories=["EU"])
            access_requests.ask(
                buyer,
                str(asked.pk),
                uses=["pretrain"],
                territories=["EU"],
                model={"name": "Gamma", "version": "2", "release": "closed_api"},
            )
        seller = caller_for(other)
        with acting(seller, writing=False):
            taken = works.in_collection(seller, str(theirs.pk)).order_by("pk")[0]
        optouts.record(seller, by="owner", reason="Withdrawn.", works=[str(taken.pk)])

    def ids(self, *, livemode: bool) -> dict[str, list[str]]:
        """Of each table that knows modes, the rows that its page is of."""
        found = {}
        caller = caller_for(self.organization, livemode=livemode)
        with acting(caller, writing=False):
            for model in studio._registry:
                if "livemode" not in {one.name for one in model._meta.fields}:
                    continue
                rows = own(model, caller)
                side = SIDES.get(model) or {"Order": "organization", "Sale": "seller"}.get(
                    model.__name__
                )
                if side:
                    rows = rows.filter(**{side: self.organization})
                found[model._meta.label] = [str(pk) for pk in rows.values_list("pk", flat=True)]
        # Of invoices and payments to contributors none is made here, in either mode.
        return {label: ids for label, ids in found.items() if ids}

    def state(self) -> list[Any]:
        """All rows of tables that know modes, as they stand."""
        found = []
        with system("compare rows in a test"), connection.cursor() as cursor:
            cursor.execute(
                "SELECT table_name FROM information_schema.columns"
                " WHERE column_name = 'livemode' AND table_schema = 'public' ORDER BY 1"
            )
            for [table] in cursor.fetchall():
                cursor.execute(
                    "SELECT md5(string_agg(row::text, ' ' ORDER BY row::text))"
                    f' FROM "{table}" row'
                )
                found.append((table, cursor.fetchone()))
        return found


def _tries(ids: dict[str, list[str]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every page and every act of rows."""
    for model, pages in studio._registry.items():
        label = model._meta.label
        base = f"/studio/{model._meta.app_label}/{model._meta.model_name}/"
        for pk in ids.get(label, ()):
            for name in ("change", "history", *(one.name for one in pages.files)):
                yield "GET", f"{base}{pk}/{name}/", {}
            for verb in pages.verbs:
                url = f"{base}{pk}/{verb.name}/"
                yield "GET", url, {}
                yield "POST", url, VERB_FORMS.get((label, verb.name), {})


def test_a_key_of_the_other_mode_is_not_there(archive: Organization) -> None:
    made = {
        livemode: api_keys.create(
            caller_for(archive, livemode=livemode), name=f"key {livemode}", scopes=["works:read"]
        )[0]
        for livemode in (False, True)
    }
    client = member(archive)
    for livemode in (False, True):
        other, mine = made[not livemode], made[livemode]
        for page in ("change", "history", "revoke", "secret"):
            assert client.get(f"{KEYS}{other.pk}/{page}/").status_code == 404
        assert client.post(f"{KEYS}{other.pk}/revoke/").status_code == 404
        shown = text(client.get(KEYS))
        assert (mine.name in shown, other.name in shown) == (True, False)
        turn(client, "live")
    assert [key.revoked_at for key in rows(ApiKey)] == [None, None]


@pytest.mark.oracle
@pytest.mark.parametrize("livemode", [False, True])
def test_in_one_mode_no_row_of_the_other_is_read_or_written(
    archive: Organization, lab: Organization, ledger_keys: object, livemode: bool
) -> None:
    world = World(archive, lab)
    here, there = world.ids(livemode=livemode), world.ids(livemode=not livemode)
    # Grants, held grants, requests, notices, quotes, orders, sales, keys, and webhooks with what
    # was sent to them.
    assert len(there) >= 10
    assert here.keys() == there.keys()
    client = member(archive)
    if livemode:
        turn(client, "live")
    before = world.state()

    for method, url, form in _tries(there):
        answer = client.post(url, fresh(form)) if method == "POST" else client.get(url)
        assert answer.status_code == 404, url

    assert world.state() == before
    foreign = {pk for ids in there.values() for pk in ids}
    for model in studio._registry:
        label, url = model._meta.label, f"/studio/{model._meta.app_label}/{model._meta.model_name}/"
        shown = client.get(url)
        assert not any(pk in text(shown) for pk in foreign), url
        rows = {str(row.pk) for row in shown.context["cl"].result_list}
        assert rows == set(here.get(label, rows)), url
    for method, url, _form in _tries(here):
        if method == "GET" and url.endswith("/change/"):
            answer = client.get(url)
            assert answer.status_code == 200, url
            assert not any(pk in text(answer) for pk in foreign), url


def _every_mode(patch: pytest.MonkeyPatch) -> None:
    def mine(self: ApiKeyQuerySet, caller: Caller) -> Any:
        return self.filter(organization=caller.organization)

    patch.setattr(ApiKeyQuerySet, "visible_to", mine)


@pytest.mark.oracle
def test_a_table_that_forgot_the_mode_is_found(
    archive: Organization, lab: Organization, ledger_keys: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = World(archive, lab).ids(livemode=True)
    client = member(archive)
    _every_mode(monkeypatch)
    opened = {url for method, url, _form in _tries(there) if client.get(url).status_code == 200}
    assert {url.split("/")[3] for url in opened} == {"apikey"}


def test_a_live_verb_needs_in_the_workspace_what_it_needs_of_a_live_key(
    archive: Organization, lab: Organization
) -> None:
    paid = make_offer(archive)
    draft = make_offer(archive, is_published=False)
    seller, buyer = member(archive), member(lab, email="buyer@example.org")
    turn(seller, "live")
    turn(buyer, "live")

    refused = seller.post(f"/studio/licensing/offer/{draft.pk}/publish/", follow=True)
    assert "An operator verifies who the seller is" in text(refused)
    draft.refresh_from_db()
    assert draft.state == "draft"

    wanted = {"uses": ["pretrain"], "territories": ["EU"]}
    quote = f"/studio/market/{paid.pk}/quote/"
    assert "An operator verifies who the seller is" in text(buyer.post(quote, wanted))
    make_trader(archive)
    assert "takes payments in test mode only" in text(buyer.post(quote, wanted))
    assert rows(Quote) == []


@pytest.mark.oracle
def test_the_same_holds_for_figures(
    archive: Organization, lab: Organization, ledger_keys: object
) -> None:
    make_trader(archive)
    make_grant(archive, lab, livemode=True)
    client = member(archive)
    in_test = client.get("/studio/panels/licenses-given.csv")
    turn(client, "live")
    in_live = client.get("/studio/panels/licenses-given.csv")
    assert in_test.content != in_live.content
