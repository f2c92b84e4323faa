"""What sellers do in the workspace about decisions, opt-outs and contributors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from licensing import moderation, notices, optouts
from licensing.models import Appeal, ModerationDecision, Notice, Offer, OptOut
from licensing.moderation import Reasons
from marketplace import contributors, organizations
from marketplace.access import acting, system
from marketplace.models import Audit, Contributor, Organization, Work
from tests.make import make_collection, make_grant, make_offer, make_operator
from tests.people import caller_for

pytestmark = pytest.mark.django_db
WHY = Reasons("A map of <b>1954</b> is in it.", "law", "Directive 2001/29/EC, article 2.")
SVG = "<svg onload=alert(1)>"


def member(organization: Organization) -> Client:
    user = organizations.admit(
        organization,
        email=f"{organization.pk}@example.org",
        name="Ada",
        password="correct horse battery",
        role="owner",
    )
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def text(answer: Any) -> str:
    return str(answer.content.decode())


def rows(model: Any) -> list[Any]:
    with system("read rows in a test"):
        return list(model.objects.all())


def acts(prefix: str) -> list[str]:
    return [row.action for row in rows(Audit) if row.action.startswith(prefix)]


# --- decisions --------------------------------------------------------------------------------


@pytest.fixture
def decision(archive: Organization) -> ModerationDecision:
    offer = make_offer(archive)
    return moderation.decide(
        make_operator(), offer=str(offer.pk), measure="listing_suspended", reasons=WHY
    )


def test_a_seller_reads_the_reasons_appeals_once_and_reads_the_answer(
    archive: Organization, decision: ModerationDecision
) -> None:
    client, base = member(archive), f"/studio/licensing/moderationdecision/{decision.pk}/"
    page = text(client.get(f"{base}change/"))
    assert "A map of &lt;b&gt;1954&lt;/b&gt; is in it." in page
    assert f"{base}appeal/" in page

    filed = client.post(f"{base}appeal/", {"reasons": "It is ours."}, follow=True)
    again = client.post(f"{base}appeal/", {"reasons": "Once more."}, follow=True)

    assert "Your appeal is filed" in text(filed)
    assert f'href="{base}appeal/"' not in text(filed)
    assert "You appealed before" in text(again)
    [appeal] = rows(Appeal)
    assert (appeal.reasons, appeal.by) == ("It is ours.", "seller")
    otto = make_operator("otto@example.org")
    moderation.answer(otto, str(appeal.pk), is_reversed=True, text="You are right.")
    assert "You are right." in text(client.get(f"{base}change/"))
    assert rows(Offer)[0].state == "listed"


def test_after_six_months_an_appeal_is_refused_in_words(
    archive: Organization, decision: ModerationDecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, base = member(archive), f"/studio/licensing/moderationdecision/{decision.pk}/"
    ends = decision.decided_at - timedelta(seconds=1)
    monkeypatch.setattr(moderation, "appeal_ends", lambda _decision, _report=None: ends)

    assert f'href="{base}appeal/"' not in text(client.get(f"{base}change/"))
    refused = client.post(f"{base}appeal/", {"reasons": "It is ours."})

    assert "This was not done" in text(refused)
    assert rows(Appeal) == []


def test_nobody_else_reads_or_appeals_it(
    stranger: Organization, decision: ModerationDecision
) -> None:
    client, base = member(stranger), f"/studio/licensing/moderationdecision/{decision.pk}/"

    assert client.get(f"{base}change/").status_code == 404
    assert client.post(f"{base}appeal/", {"reasons": "Mine."}).status_code == 404
    assert rows(Appeal) == []
    assert "Nothing was decided against you" in text(
        client.get("/studio/licensing/moderationdecision/")
    )


# --- opt-outs ---------------------------------------------------------------------------------


def test_a_seller_takes_works_out_and_sees_who_acknowledged(
    archive: Organization, lab: Organization
) -> None:
    collection = make_collection(archive, works=3)
    make_grant(archive, lab, offer=make_offer(archive, price_minor=0, collection=collection))
    with acting(caller_for(archive), writing=False):
        one, two = [row.external_id for row in Work.objects.order_by("pk")[:2]]
    client, add = member(archive), "/studio/licensing/optout/add/"
    form = {"external_ids": f" {one}\n{two}\n\n", "reason": SVG}

    taken = client.post(add, form, follow=True)
    again = client.post(add, form, follow=True)

    assert "They are out: 2 works." in text(taken)
    assert "were out before" in text(again)
    assert again.redirect_chain == taken.redirect_chain
    assert "Not yet" in text(taken)
    assert SVG not in text(taken)
    [row] = rows(OptOut)
    assert (row.size, row.reason) == (2, SVG)
    [notice] = rows(Notice)
    said = {"statement": "Deleted.", "name": "L", "title": "Counsel"}
    notices.acknowledge(caller_for(lab), str(notice.pk), **said)
    page = text(client.get(f"/studio/licensing/optout/{row.pk}/change/"))
    assert "Deleted." in page
    assert "Not yet" not in page


@pytest.mark.oracle
@pytest.mark.parametrize("ids", ["", "none such", "\n".join(map(str, range(1001)))])
def test_an_opt_out_of_nothing_is_refused_at_its_field(archive: Organization, ids: str) -> None:
    make_collection(archive)

    refused = member(archive).post(
        "/studio/licensing/optout/add/", {"external_ids": ids, "reason": "r"}
    )

    form = refused.context["adminform"].form
    assert form.errors
    assert rows(OptOut) == []


def test_a_list_of_opt_outs_counts_notices_of_one_s_own_alone(
    archive: Organization, lab: Organization
) -> None:
    collection = make_collection(archive, works=2)
    for _each in range(2):
        make_grant(archive, lab, offer=make_offer(archive, price_minor=0, collection=collection))
    optouts.record(caller_for(archive), by="owner", reason="r", collection=str(collection.pk))

    [shown] = member(archive).get("/studio/licensing/optout/").context["cl"].result_list

    assert (shown.notices_sent, shown.notices_waiting) == (2, 2)


# --- contributors -----------------------------------------------------------------------------


def test_a_contributor_is_added_once_and_their_consent_recorded(archive: Organization) -> None:
    client, add = member(archive), "/studio/marketplace/contributor/add/"
    form = {"external_id": "c-1", "name": SVG, "email": "c@example.org", "consent": "granted"}

    added = client.post(add, form, follow=True)
    again = client.post(add, form)

    assert "is there" in text(added)
    assert SVG not in text(added)
    assert "There is a contributor" in text(again)
    [row] = rows(Contributor)
    assert row.consent == "granted"
    consent = f"/studio/marketplace/contributor/{row.pk}/set_consent/"
    for expected in ("is “Withdrawn” now", "nothing was changed"):
        assert expected in text(client.post(consent, {"consent": "withdrawn"}, follow=True))
    assert acts("contributor.") == ["contributor.added", "contributor.consent_changed"]
    contributors.erase(caller_for(archive), str(row.pk))
    page = text(client.get(f"/studio/marketplace/contributor/{row.pk}/change/"))
    assert "Erased" in page
    assert "c@example.org" not in page


def test_an_email_needs_a_name_and_a_consent_a_known_word(archive: Organization) -> None:
    client, add = member(archive), "/studio/marketplace/contributor/add/"
    for form, field in (
        ({"external_id": "c", "email": "c@example.org", "consent": "granted"}, "name"),
        ({"external_id": "c", "consent": "sure"}, "consent"),
        ({"external_id": "", "consent": "granted"}, "external_id"),
    ):
        refused = client.post(add, form)
        assert refused.context["adminform"].form.errors.keys() == {field}
    assert rows(Contributor) == []
