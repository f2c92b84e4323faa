"""The studio: a member of one tenant gets nothing of another's, whatever they ask for or send."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.messages import get_messages
from django.db import connection, models
from django.http import Http404
from django.test import Client, override_settings
from pytest_django import DjangoDbBlocker

from licensing.models import Offer, Snapshot, Terms
from licensing.studio import OfferPages
from marketplace import authentication, operators, organizations, tenant_pages
from marketplace.access import system
from marketplace.models import Collection, Membership, Representation, User, Work
from marketplace.page_policy import WORKSPACE
from marketplace.tenant_checks import check_registered, check_studio
from marketplace.tenant_pages import (
    NewestFormSet,
    Scoped,
    TenantInline,
    TenantListFilter,
    TenantModelAdmin,
    TenantRelatedFilter,
)
from marketplace.tenant_site import TenantSite, studio
from tests.database import TestDatabase
from tests.security.studio_world import (
    ADD_FORMS,
    PAGE_FORMS,
    PASSWORD,
    VERB_FORMS,
    Probe,
    Tenant,
    collect,
    fingerprint,
    fresh,
    hidden,
    leaks,
    others,
    probes,
    settle,
)

pytestmark = pytest.mark.django_db
# Fewer would mean that a page fell out of the crawl.
PROBES_LEAST = 2_000
# Every nth probe makes a part. Most of them wait for `make oracles`.
PARTS = 36


@dataclass
class Studio:
    first: Tenant
    second: Tenant


@pytest.fixture(scope="module")
def world(
    django_db_setup: TestDatabase,
    django_db_blocker: DjangoDbBlocker,
    ledger_keys: object,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Studio]:
    """Two sellers of everything, committed once for the module; a test's own rows roll back."""
    files = override_settings(UPLOAD_DIR=tmp_path_factory.mktemp("uploads"))
    with files, django_db_blocker.unblock():
        beside = others()
        made = Studio(settle("Canaryone", beside), settle("Canarytwo", beside))
        collect(made.first)
        collect(made.second)
        yield made
        django_db_setup.remake()


def of_kind(world: Studio, *kinds: str) -> list[Probe]:
    return [probe for probe in probes(world.first, world.second) if probe.kind in kinds]


# --- nothing leaks ----------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("part", range(PARTS))
def test_no_probe_of_any_page_leaks_or_changes_another_tenant_s_rows(
    world: Studio, part: int
) -> None:
    tried = list(probes(world.first, world.second))
    found_ = list(leaks(world.first, world.second, tried[part::PARTS]))
    print(f"{len(tried)} probes, part {part}: {len(found_)} leaks")
    assert found_ == [], "\n".join(found_[:20])
    assert len(tried) >= PROBES_LEAST


@pytest.mark.oracle
def test_every_page_of_another_tenant_s_row_is_404(world: Studio) -> None:
    foreign = [probe for probe in probes(world.first, world.second) if probe.status == 404]
    pages = [probe for probe in foreign if "/change/" in probe.url or "/history/" in probe.url]
    assert len(pages) >= 2 * sum(len(ids) for ids in world.second.ids.values())
    assert list(leaks(world.first, world.second, foreign)) == []


def test_each_list_shows_the_rows_that_are_one_s_own(world: Studio) -> None:
    assert list(hidden(world.first)) == []


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.oracle)])
def test_pages_that_are_no_table_s_leak_nothing(world: Studio, every: int) -> None:
    kinds = ("files", "figures", "upload", "certificate", "forms", "market", "questions")
    tried = of_kind(world, *kinds, "mode", "secret")
    assert len(tried) >= 130
    assert list(leaks(world.first, world.second, tried[::every])) == []


def test_a_hidden_row_and_a_missing_one_look_the_same(world: Studio) -> None:
    client = world.first.client()
    hidden = world.second.ids["marketplace.Collection"][0]
    for page in ("change", "history", "delete", "attest", "freeze"):
        answers = [
            client.get(f"/studio/marketplace/collection/{pk}/{page}/", HTTP_ACCEPT="text/html")
            for pk in (hidden, str(Collection().pk), "not-an-id", "%00")
        ]
        assert {answer.status_code for answer in answers} == {404}
        tokens = r'name="csrfmiddlewaretoken" value="\w+"'
        assert len({re.sub(tokens, "", answer.content.decode()) for answer in answers}) == 1


def test_every_form_of_the_studio_stands_in_the_crawl() -> None:
    adds = {model._meta.label for model, pages in studio._registry.items() if pages.add_form}
    assert adds == set(ADD_FORMS)
    verbs = {
        (model._meta.label, verb.name)
        for model, pages in studio._registry.items()
        for verb in pages.verbs
        if verb.form
    }
    assert verbs == set(VERB_FORMS)


@pytest.mark.oracle
def test_looking_at_every_page_changes_nothing(world: Studio) -> None:
    kinds = {"index", "list", "change", "history", "delete", "add", "attest"}
    gets = [probe for probe in of_kind(world, *kinds) if probe.method == "GET"]
    before = fingerprint(world.first)
    assert list(leaks(world.first, world.second, gets)) == []
    assert fingerprint(world.first) == before


# --- the crawler can fail ---------------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def _everything(model: Any) -> Any:
    return model._default_manager.all()


def _rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Scoped, "get_queryset", lambda self, request: _everything(self.model).order_by("-pk")
    )


def _own(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tenant_pages, "own", lambda model, caller: _everything(model))


def _choices(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scoped, "choices", lambda self, request, model: _everything(model))


def _filter(patch: pytest.MonkeyPatch) -> None:
    plain = admin.RelatedFieldListFilter.field_choices
    patch.setattr(TenantRelatedFilter, "field_choices", plain)


def _list_filter(patch: pytest.MonkeyPatch) -> None:
    def lookups(self: Any, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(row.pk), row.name) for row in Collection.objects.all()]

    patch.setattr(TenantListFilter, "lookups", lookups)


def _autocomplete(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        AutocompleteJsonView,
        "get_queryset",
        lambda self: _everything(self.model_admin.model).order_by("pk"),
    )


def _search(patch: pytest.MonkeyPatch) -> None:
    def found_anywhere(self: Any, request: Any, rows: Any, term: str) -> tuple[Any, bool]:
        return (
            self.narrow(_everything(self.model), studio.caller(request)) if term else rows,
            False,
        )

    patch.setattr(TenantModelAdmin, "get_search_results", found_anywhere)


def _inline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NewestFormSet, "get_queryset", lambda self: _everything(self.model)[:20])


def _action(patch: pytest.MonkeyPatch) -> None:
    plain = OfferPages.withdraw_selected

    def unscoped(self: Any, request: Any, rows: Any) -> None:
        chosen = request.POST.getlist("_selected_action")
        plain(self, request, Offer.objects.filter(pk__in=chosen))

    patch.setattr(OfferPages, "withdraw_selected", unscoped)


def _unscoped(self: Any, request: Any, object_id: str, from_field: Any = None) -> Any:
    # The database's own wall stands as well: a hole in the pages is only seen without it.
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('licet.system', 'a hole in a test', true)")
    try:
        return _everything(self.model).get(pk=object_id)
    except Exception:
        raise Http404 from None


def _object(patch: pytest.MonkeyPatch) -> None:
    """The one guard of the pages of a row: change, history, verbs, files."""
    patch.setattr(TenantModelAdmin, "get_object", _unscoped)


def _deletion(patch: pytest.MonkeyPatch) -> None:
    _object(patch)
    patch.setattr(Scoped, "has_delete_permission", lambda self, request, obj=None: True)


def _lookup(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TenantModelAdmin, "lookup_allowed", lambda *args, **kwargs: True)


def _redirect(patch: pytest.MonkeyPatch) -> None:
    """Django's own answer to an id that is not there."""
    patch.setattr(TenantModelAdmin, "get_object", admin.ModelAdmin.get_object)


def _switch(patch: pytest.MonkeyPatch) -> None:
    def anyone(self: authentication.SignedIn, organization: str = "") -> Any:
        with system("a hole in a test"):
            chosen = organization or self.memberships[0].organization_id
            row = Membership.objects.select_related("organization").filter(organization=chosen)
            return organizations.operator(row[0].organization)

    patch.setattr(authentication.SignedIn, "caller", anyone)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("hole", "kinds"),
    [
        (_rows, ("list",)),
        (_own, ("list", "change")),
        (_choices, ("field",)),
        (_filter, ("list",)),
        (_list_filter, ("list",)),
        (_autocomplete, ("autocomplete",)),
        (_search, ("search",)),
        (_inline, ("change",)),
        (_action, ("action",)),
        (_object, ("history",)),
        (_deletion, ("delete",)),
        (_object, ("attest", "freeze", "publish", "withdraw")),
        (_object, ("receipt",)),
        (_lookup, ("lookup",)),
        (_redirect, ("change",)),
        (_switch, ("switch",)),
    ],
)
def test_without_one_of_its_guards_the_crawler_finds_the_leak(
    world: Studio, monkeypatch: pytest.MonkeyPatch, hole: Patch, kinds: tuple[str, ...]
) -> None:
    tried = of_kind(world, *kinds)
    hole(monkeypatch)
    assert next(leaks(world.first, world.second, tried), None) is not None


# --- who may enter, and do what ---------------------------------------------------------------


def member(world: Studio, role: str) -> Client:
    user = organizations.admit(
        world.first.organization,
        email=f"{role}@example.org",
        name=role,
        password=PASSWORD,
        role=role,
    )
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def own_posts(world: Studio, *, role: str = "owner", may: bool = True) -> list[Probe]:
    """Every way to write that a role may, or may not; with a form that the verb takes."""
    me, found_ = world.first, []
    held = organizations.ROLE_SCOPES[role]
    for model, pages in studio._registry.items():
        label = model._meta.label
        base = f"/studio/{model._meta.app_label}/{model._meta.model_name}/"
        is_ours = pages.write is not None and (pages.write in held) == may
        if is_ours and pages.add_form is not None:
            found_.append(Probe("add", "POST", f"{base}add/", ADD_FORMS[label](me)))
        for verb in pages.verbs:
            if ((verb.scope or pages.write) in held) != may:
                continue
            form = VERB_FORMS.get((label, verb.name), {})
            found_ += [
                Probe(verb.name, "POST", f"{base}{pk}/{verb.name}/", form) for pk in me.ids[label]
            ]
        for action in pages.actions if is_ours else ():
            data = {"action": action, "_selected_action": me.ids[label], "index": "0"}
            found_.append(Probe("action", "POST", base, data))
    return found_


@pytest.mark.oracle
@pytest.mark.parametrize("role", ["viewer", "finance", "editor", "manager"])
def test_what_a_role_may_not_write_it_does_not(world: Studio, role: str) -> None:
    client = member(world, role)
    refused = own_posts(world, role=role, may=False)
    assert refused
    before = fingerprint(world.first)
    if role in {"viewer", "editor"}:
        refused += [Probe("forms", "POST", url, form) for url, form in PAGE_FORMS.items()]
    for probe in refused:
        answer = client.post(probe.url, fresh(probe.data))
        assert answer.status_code == (200 if probe.kind == "action" else 403), str(probe)
    assert fingerprint(world.first) == before
    page = client.get("/studio/").content.decode()
    assert ("change nothing" in page) == (role == "viewer")
    shown = client.get("/studio/marketplace/collection/").content.decode()
    assert ("New: collection" in shown) == (role in {"editor", "manager"})


# The last owner stays one, and what was approved is not declined:
# the form says so. Listing wants terms of one's own, which the crawl does not choose.
ANSWERED_AT_ONCE = {
    "/studio/licensing/optout/add/",
    "set_role",
    "decline",
    "list",
    # Stripe is not there.
    "open_account",
    # Of a work that there is not.
    "choose_sample",
    # A contract is accepted as it was shown, and a crawl shows itself none.
    "pay_by_card",
    "pay_by_invoice",
    "accept_free",
    # First it says how many works would change.
    "edit_works",
}


@pytest.mark.oracle
@pytest.mark.parametrize("role", ["owner", "manager", "editor", "finance"])
def test_a_role_that_may_write_gets_the_same_done(world: Studio, role: str) -> None:
    client = member(world, role)
    tried = own_posts(world, role=role)
    assert tried
    for probe in tried:
        answer = client.post(probe.url, fresh(probe.data))
        at_once = bool({probe.url, probe.kind} & ANSWERED_AT_ONCE)
        assert answer.status_code in ({200, 302} if at_once else {302}), str(probe)


# They find by themselves what they did, and go on with it: tests/payments/test_buying_pages.py.
GOES_ON = {"pay_by_card", "pay_by_invoice", "accept_free", "go_on", "open_account"}


@pytest.mark.oracle
def test_a_form_that_is_sent_twice_says_so_and_does_nothing_twice(world: Studio) -> None:
    """Every form and every verb, as a browser sends it again after “back”."""
    client, wrong, seen = world.first.client(), [], 0
    posts = own_posts(world)
    posts += [Probe("forms", "POST", url, PAGE_FORMS[url]) for url in ("/studio/identity/",)]
    for probe in posts:
        if probe.kind in {"action", *GOES_ON}:
            continue
        page = client.get(probe.url).content.decode()
        hidden_ = re.findall(r'<input type="hidden" name="(form_token|seen)" value="([^"]*)"', page)
        sent = {**probe.data, **dict(hidden_)}
        first = client.post(probe.url, fresh(sent))
        before = fingerprint(world.first)
        second = client.post(probe.url, fresh(sent), follow=True).content.decode()
        if fingerprint(world.first) != before:
            wrong.append(f"{probe} did it again")
        told = [str(one.level_tag) for one in get_messages(first.wsgi_request)]
        if first.status_code == 302 and told == ["success"]:
            seen += 1
            if not re.search("You sent this form before|It stands so already", second):
                wrong.append(f"{probe} did not say so")
    assert wrong == [], "\n".join(wrong)
    print(f"{seen} forms were done once, of {len(posts)}")
    assert seen >= 25


def test_without_the_form_s_token_nothing_is_written(world: Studio) -> None:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(world.first.user)
    before = fingerprint(world.first)
    posts = [*own_posts(world), Probe("switch", "POST", "/studio/organization/", {})]
    posts.append(Probe("mode", "POST", "/studio/mode/", {"mode": "live"}))
    posts += [Probe("forms", "POST", url, form) for url, form in PAGE_FORMS.items()]
    for probe in posts:
        assert client.post(probe.url, fresh(probe.data)).status_code == 403, str(probe)
    assert fingerprint(world.first) == before


def test_nobody_is_led_to_the_one_login_page_and_back(client: Client, world: Studio) -> None:
    url = f"/studio/marketplace/collection/{world.first.ids['marketplace.Collection'][0]}/change/"
    answer = client.get(url, follow=True)
    assert [status for _url, status in answer.redirect_chain] == [302, 302]
    assert answer.redirect_chain[-1][0] == f"/login/?next={url}"
    assert "Canaryone letters" not in answer.content.decode()
    form = {"login": world.first.user.email, "password": PASSWORD, "next": url}
    back = client.post("/login/", form, follow=True)
    assert back.redirect_chain == [(url, 302)]
    assert "Canaryone letters" in back.content.decode()


def test_a_member_of_nobody_is_told_whom_to_ask(client: Client, world: Studio) -> None:
    client.force_login(operators.appoint(email="o@example.org", name="Olive", password=PASSWORD))
    answer = client.get("/studio/marketplace/collection/", follow=True)
    assert answer.status_code == 403
    assert "Ask an owner" in answer.content.decode()
    assert "Canary" not in answer.content.decode()


def test_who_is_no_longer_a_member_is_out(world: Studio, owner_of_first: Client) -> None:
    assert owner_of_first.get("/studio/").status_code == 200
    with system("end a membership in a test"):
        Membership.objects.filter(user=world.first.user).delete()
    assert owner_of_first.get("/studio/").status_code == 302


@pytest.fixture
def owner_of_first(world: Studio) -> Client:
    return world.first.client()


def test_a_member_of_two_works_for_one_at_a_time(world: Studio, owner_of_first: Client) -> None:
    organizations.admit(
        world.second.organization,
        email=world.first.user.email,
        name="x",
        password=PASSWORD,
        role="viewer",
    )
    url = "/studio/marketplace/collection/"
    assert "Canarytwo letters" not in owner_of_first.get(url).content.decode()
    chosen = {"organization": str(world.second.organization.pk)}
    assert owner_of_first.get("/studio/organization/", chosen).status_code == 405
    assert owner_of_first.post("/studio/organization/", chosen).status_code == 302
    text = owner_of_first.get(url).content.decode()
    assert "Canarytwo letters" in text
    assert "Canaryone letters" not in text
    # The role is that of the chosen organization, too.
    assert owner_of_first.post(f"{url}add/", {"name": "New"}).status_code == 403
    with system("end a membership in a test"):
        rows = Membership.objects.filter(user=world.first.user)
        rows.filter(organization=world.second.organization).delete()
    assert "Canaryone letters" in owner_of_first.get(url).content.decode()


# --- what a page sends ------------------------------------------------------------------------


@pytest.mark.oracle
def test_every_page_carries_the_policy_and_fetches_nothing_from_elsewhere(
    world: Studio, owner_of_first: Client
) -> None:
    for probe in probes(world.first, world.second):
        if probe.method != "GET" or probe.kind in {"lookup", "autocomplete", "filter", "field"}:
            continue
        if not probe.url.startswith("/studio/"):
            continue
        answer = owner_of_first.get(probe.url)
        if answer.status_code != 200 or not answer["Content-Type"].startswith("text/html"):
            continue
        assert answer["Content-Security-Policy"] == WORKSPACE
        assert answer["X-Frame-Options"] == "DENY"
        text = answer.content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>|\son\w+=|\sstyle=|<style", text), probe
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', text):
            ours = ("https://example.org/", "data:,")
            inside = not re.match(r"[a-z]+:|//", address) or address.startswith(ours)
            assert inside, address


def test_a_refusal_of_a_verb_stands_at_its_field(world: Studio, owner_of_first: Client) -> None:
    typed = json.loads(ADD_FORMS["licensing.Terms"](world.first)["typed"])
    typed["permit"][0]["uses"] = ["to sing"]
    form = {"name": "New", "typed": json.dumps(typed)}
    answer = owner_of_first.post("/studio/licensing/terms/add/", form)
    assert answer.status_code == 200
    [error] = answer.context["adminform"].form.errors["typed"]
    assert error.startswith("permit[0].uses[0]: ")
    assert not Terms.objects.filter(name="New").exists()


def test_a_price_that_cannot_be_charged_stands_at_its_field(
    world: Studio, owner_of_first: Client
) -> None:
    form = ADD_FORMS["licensing.Offer"](world.first)
    for price, words in (("0.01", "no less than"), ("5.001", "2 digits after the point")):
        answer = owner_of_first.post("/studio/licensing/offer/add/", {**form, "price": price})
        assert answer.status_code == 200
        [error] = answer.context["adminform"].form.errors["price"]
        assert words in error


# --- the system check -------------------------------------------------------------------------


class Pages(TenantModelAdmin):
    read = "collections:read"  # type: ignore[assignment]


class ItemInline(TenantInline):
    model = Representation
    read = "works:read"  # type: ignore[assignment]


def refused(model: type[models.Model], pages: Any) -> list[str]:
    site = TenantSite(name="tried")
    site.register(model, pages)
    # Until it is collected as garbage, the system check would look at it in later tests, too.
    admin.sites.all_sites.discard(site)
    return [str(error.id) for error in check_studio(site)]


def test_the_studio_as_it_is_passes_the_check() -> None:
    assert check_registered() == []
    assert len(studio._registry) >= 6
    assert refused(Collection, Pages) == []


@pytest.mark.parametrize(
    ("number", "model", "pages"),
    [
        ("E001", Collection, admin.ModelAdmin),
        ("E001", Collection, type("Other", (Scoped, admin.ModelAdmin), {"read": "x"})),
        ("E002", Snapshot, type("P", (Pages,), {"list_filter": ("collection",)})),
        ("E002", Snapshot, type("P", (Pages,), {"list_filter": ("collection__organization",)})),
        (
            "E002",
            Snapshot,
            type(
                "P", (Pages,), {"list_filter": (("collection", admin.RelatedOnlyFieldListFilter),)}
            ),
        ),
        (
            "E002",
            Snapshot,
            type("P", (Pages,), {"list_filter": (type("F", (admin.SimpleListFilter,), {}),)}),
        ),
        ("E003", Snapshot, type("P", (Pages,), {"raw_id_fields": ("collection",)})),
        (
            "E004",
            Work,
            type(
                "P",
                (Pages,),
                {"inlines": (type("I", (admin.TabularInline,), {"model": Representation}),)},
            ),
        ),
        (
            "E005",
            Offer,
            type(
                "P",
                (Pages,),
                {
                    "add_form": type(
                        "F",
                        (tenant_pages.AddForm,),
                        {"Meta": type("Meta", (), {"model": Offer, "fields": ("organization",)})},
                    )
                },
            ),
        ),
        ("E006", Collection, type("P", (Pages,), {"list_editable": ("name",)})),
        ("E007", User, Pages),
        ("E008", Collection, TenantModelAdmin),
        ("E009", Collection, type("P", (Pages,), {"get_queryset": lambda self, request: None})),
        (
            "E009",
            Work,
            type(
                "P",
                (Pages,),
                {"inlines": (type("I", (ItemInline,), {"choices": lambda *args: None}),)},
            ),
        ),
    ],
)
def test_the_check_refuses_a_page_outside_the_walls(
    number: str, model: type[models.Model], pages: Any
) -> None:
    assert f"licet.{number}" in refused(model, pages)
