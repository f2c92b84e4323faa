"""Connected accounts: made, asked about, onboarded on their page, told about, closed."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import SECRET, Account, account, wait_until
from tests.payments.simulator_sellers import (
    PAYOUTS,
    TRANSFERS,
    asked,
    fetched,
    made,
    onboarded,
    seller_params,
    statuses,
)

__all__ = ["account"]

REFRESH, RETURN = "https://market.example/again", "https://market.example/back"
FORM = "application/x-www-form-urlencoded"
RECIPIENT = "v2.core.account[configuration.recipient]"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        return None


def browse(url: str, *, action: str = "") -> tuple[int, str]:
    """Open a page, or press one of its buttons: the status, and the text or where it leads."""
    data = f"action={action}".encode() if action else None
    request = urllib.request.Request(url, data=data, headers={"Content-Type": FORM})
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.headers.get("Location") or answer.read().decode()


def link(account: Account, seller: str, **changed: Any) -> Any:
    given = {"refresh_url": REFRESH, "return_url": RETURN} | changed
    params: Any = {
        "account": seller,
        "use_case": {"type": "account_onboarding", "account_onboarding": given},
    }
    return account.client.v2.core.account_links.create(params)


def told(account: Account, count: int) -> list[str]:
    """The types of all thin events so far, after so many were delivered."""
    wait_until(lambda: len(account.receiver.raws) == count, lambda: account.receiver.types)
    return account.receiver.types


def refusal(account: Account, call: Any, *arguments: Any) -> stripe.InvalidRequestError:
    """What a call is refused with. No account changes."""
    before = json.dumps([each.to_dict() for each in account.client.v2.core.accounts.list()])
    with pytest.raises(stripe.InvalidRequestError) as refused:
        call(*arguments)
    after = json.dumps([each.to_dict() for each in account.client.v2.core.accounts.list()])
    assert before == after
    return refused.value


def test_a_new_account_is_restricted_and_asked_for_what_is_missing(account: Account) -> None:
    seller = made(account)

    assert seller.id.startswith("acct_dev_")
    assert seller.applied_configurations == ["recipient"]
    assert statuses(seller) == {TRANSFERS: "restricted", PAYOUTS: "restricted"}
    assert seller.requirements is not None
    assert seller.requirements.entries is not None
    by_name = {each.description: each for each in seller.requirements.entries}
    number = by_name["identity.business_details.id_numbers"]
    assert (number.awaiting_action_from, number.minimum_deadline.status) == ("user", "past_due")
    assert [each.code for each in number.requested_reasons] == ["routine_onboarding"]
    assert number.impact.restricts_capabilities is not None
    assert [each.capability for each in number.impact.restricts_capabilities] == [
        TRANSFERS,
        PAYOUTS,
    ]
    bank = by_name["external_account"].impact.restricts_capabilities
    assert bank is not None
    assert [each.capability for each in bank] == [PAYOUTS]
    assert seller.requirements.summary is not None
    assert seller.requirements.summary.minimum_deadline is not None
    assert seller.requirements.summary.minimum_deadline.status == "past_due"


def test_a_restricted_capability_says_why(account: Account) -> None:
    seller: Any = made(account)

    (why,) = (
        seller.configuration.recipient.capabilities.stripe_balance.stripe_transfers.status_details
    )

    assert (why.code, why.resolution) == ("requirements_past_due", "provide_info")


def test_what_was_given_is_not_asked_again(account: Account) -> None:
    assert "identity.business_details.registered_name" not in asked(made(account))
    nameless = made(account, identity={"country": "US", "entity_type": "company"})
    assert "identity.business_details.registered_name" in asked(nameless)

    person = made(account, identity={"country": "DE", "entity_type": "individual"})

    assert "identity.individual.surname" in asked(person)
    assert "identity.business_details.registered_name" not in asked(person)


def test_an_account_without_a_configuration_is_asked_nothing(account: Account) -> None:
    params = seller_params()
    del params["configuration"]

    seller = account.client.v2.core.accounts.create(params)  # type: ignore[arg-type]

    assert (seller.applied_configurations, asked(seller)) == ([], [])


def test_parts_of_an_account_come_only_where_they_are_included(account: Account) -> None:
    seller = made(account)
    retrieve = account.client.v2.core.accounts.retrieve

    plain = retrieve(seller.id)

    assert (plain.configuration, plain.identity, plain.defaults) == (None, None, None)
    assert (plain.requirements, plain.future_requirements) == (None, None)
    assert plain.contact_email == "archive@example.com"
    assert plain.metadata is not None
    assert plain.metadata.to_dict() == {"organization": "org_1"}
    one = retrieve(seller.id, {"include": ["configuration.recipient"]})
    assert one.configuration is not None
    assert one.configuration.recipient is not None
    assert (one.configuration.merchant, one.identity) == (None, None)
    other = retrieve(seller.id, {"include": ["configuration.merchant"]})
    assert other.configuration is not None
    assert other.configuration.recipient is None


def test_a_number_that_names_somebody_is_never_shown(account: Account) -> None:
    details = {"id_numbers": [{"type": "us_ein", "value": "000000000"}]}

    seller: Any = made(account, identity={"country": "US", "business_details": details})

    (number,) = seller.identity.business_details.id_numbers
    assert number.to_dict() == {"type": "us_ein"}


def test_an_update_changes_what_is_given_and_tells_of_it(account: Account) -> None:
    seller = made(account)

    changed: Any = account.client.v2.core.accounts.update(
        seller.id,
        {
            "display_name": "Another archive",
            "metadata": {"organization": None, "plan": "b"},
            "identity": {"business_details": {"address": {"country": "US", "line1": "1 Way"}}},
            "defaults": {"profile": {"business_url": "https://archive.example"}},
            "include": ["defaults", "identity", "requirements"],
        },
    )

    assert (changed.display_name, changed.contact_email) == (
        "Another archive",
        "archive@example.com",
    )
    assert changed.metadata.to_dict() == {"plan": "b"}
    assert changed.identity.business_details.registered_name == "Archive, Inc."
    assert changed.identity.business_details.address.line1 == "1 Way"
    assert changed.defaults.profile.business_url == "https://archive.example"
    assert "identity.business_details.address.line1" not in asked(changed)
    assert told(account, 5) == [
        "v2.core.account.created",
        "v2.core.account.updated",
        "v2.core.account[identity].updated",
        "v2.core.account[defaults].updated",
        "v2.core.account[requirements].updated",
    ]


def test_an_update_that_changes_nothing_tells_nothing(account: Account) -> None:
    seller = made(account)

    account.client.v2.core.accounts.update(seller.id, {"display_name": "An archive"})

    assert account.client.v2.core.events.list().data[0].type == "v2.core.account.created"


def test_all_that_is_asked_can_come_by_the_api(account: Account) -> None:
    seller = made(account)

    done = account.client.v2.core.accounts.update(
        seller.id,
        {
            "identity": {
                "attestations": {
                    "terms_of_service": {
                        "account": {"date": "2026-11-27T00:00:00Z", "ip": "192.0.2.1"}
                    }
                },
                "business_details": {
                    "address": {
                        "country": "US",
                        "line1": "1 Way",
                        "city": "Reno",
                        "postal_code": "89501",
                    },
                    "id_numbers": [{"type": "us_ein", "value": "000000000"}],
                },
            },
            "include": ["configuration.recipient", "requirements"],
        },
    )

    assert asked(done) == ["external_account"]
    assert statuses(done) == {TRANSFERS: "active", PAYOUTS: "restricted"}


def test_a_configuration_can_be_taken_off_and_put_back(account: Account) -> None:
    seller = onboarded(account)
    update = account.client.v2.core.accounts.update

    off = update(seller, {"configuration": {"recipient": {"applied": False}}})

    assert off.applied_configurations == []
    assert told(account, 7)[-3:] == [
        f"{RECIPIENT}.updated",
        f"{RECIPIENT}.capability_status_updated",
        f"{RECIPIENT}.capability_status_updated",
    ]
    update(seller, {"configuration": {"recipient": {"applied": True}}})
    assert statuses(fetched(account, seller)) == {TRANSFERS: "active", PAYOUTS: "active"}


@pytest.mark.parametrize(
    ("verb", "body", "transfers", "payouts", "code"),
    [
        ("complete", {}, "active", "active", None),
        ("leave_out", {}, "restricted", "restricted", "requirements_past_due"),
        ("leave_out", {"requirements": ["external_account"]}, "active", "restricted", None),
        ("refuse", {}, "rejected", "rejected", "rejected_other"),
        ("refuse", {"code": "rejected_platform_fraud"}, "rejected", "rejected", None),
        ("restrict", {"is_verifying": True}, "restricted", "restricted", None),
    ],
)
def test_a_control_brings_an_account_about(
    account: Account, verb: str, body: Any, transfers: str, payouts: str, code: str | None
) -> None:
    seller = made(account).id

    account.control(f"accounts/{seller}/{verb}", body)

    after: Any = fetched(account, seller)
    assert statuses(after) == {TRANSFERS: transfers, PAYOUTS: payouts}
    details = after.configuration.recipient.capabilities.stripe_balance.stripe_transfers
    if code is not None:
        assert [each.code for each in details.status_details] == [code]


def test_a_known_account_is_asked_more_and_waits_while_stripe_looks(account: Account) -> None:
    seller = onboarded(account)

    account.control(f"accounts/{seller}/restrict", {"is_verifying": True})
    pending = fetched(account, seller)
    account.control(f"accounts/{seller}/restrict", {"requirement": "identity.country"})
    restricted = fetched(account, seller)
    account.control(f"accounts/{seller}/complete", {})

    assert statuses(pending)[TRANSFERS] == "pending"
    assert pending.requirements is not None
    assert pending.requirements.entries is not None
    (entry,) = pending.requirements.entries
    assert (entry.awaiting_action_from, entry.requested_reasons[0].code) == (
        "stripe",
        "routine_verification",
    )
    assert statuses(restricted)[TRANSFERS] == "restricted"
    assert asked(fetched(account, seller)) == []
    assert statuses(fetched(account, seller))[TRANSFERS] == "active"


def test_unreadable_controls_are_refused(account: Account) -> None:
    seller = made(account).id
    for path, body in (
        (f"accounts/{seller}/refuse", b'{"code": "bored"}'),
        (f"accounts/{seller}/leave_out", b'{"requirements": "all"}'),
        (f"accounts/{seller}/pay_out", b"{}"),
        ("accounts/acct_none/complete", b"{}"),
        (f"accounts/{seller}/praise", b"{}"),
    ):
        assert account.refusal(f"/_simulator/{path}", body)[0] in {400, 404, 409}, path
    assert statuses(fetched(account, seller))[TRANSFERS] == "restricted"


def test_onboarding_is_told_by_thin_events_that_lead_to_the_account(account: Account) -> None:
    seller = onboarded(account)

    assert told(account, 4) == [
        "v2.core.account.created",
        "v2.core.account[requirements].updated",
        f"{RECIPIENT}.capability_status_updated",
        f"{RECIPIENT}.capability_status_updated",
    ]
    notices: list[Any] = [
        account.client.parse_event_notification(raw, signature, SECRET)
        for raw, signature in zip(account.receiver.raws, account.receiver.signatures, strict=True)
    ]
    assert {notice.related_object.id for notice in notices} == {seller}
    assert notices[1].fetch_related_object().id == seller
    capabilities = {notice.fetch_event().data.updated_capability for notice in notices[2:]}
    assert capabilities == {TRANSFERS, PAYOUTS}
    # By a request, and by somebody on a page.
    assert notices[0].reason.request.idempotency_key
    assert notices[1].reason is None


def test_accounts_are_listed_by_configuration_and_closing(account: Account) -> None:
    first, second = made(account).id, made(account).id
    params = seller_params()
    del params["configuration"]
    plain = account.client.v2.core.accounts.create(params).id  # type: ignore[arg-type]
    account.client.v2.core.accounts.close(second)
    find = account.client.v2.core.accounts.list

    assert [each.id for each in find()] == [plain, first]
    assert [each.id for each in find({"applied_configurations": ["recipient"]})] == [first]
    assert [each.id for each in find({"closed": True})] == [second]
    assert [each.id for each in find({"limit": 1}).auto_paging_iter()] == [plain, first]


def test_a_closed_account_can_be_looked_at_and_nothing_else(account: Account) -> None:
    seller = made(account).id
    close = account.client.v2.core.accounts.close
    assert refusal(account, close, seller, {"applied_configurations": ["merchant"]})

    closed = close(seller, {"applied_configurations": ["recipient"]})

    assert closed.closed is True
    assert account.client.v2.core.accounts.retrieve(seller).closed is True
    assert told(account, 2)[-1] == "v2.core.account.closed"
    update = account.client.v2.core.accounts.update
    assert refusal(account, update, seller, {"display_name": "Open"}).http_status == 400
    assert refusal(account, close, seller).http_status == 400
    assert refusal(account, link, account, seller).http_status == 400


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"identity": {"country": "USA"}}, 400),
        ({"defaults": {"currency": "abc"}}, 400),
        ({"identity": {"entity_type": "company", "individual": {"surname": "S"}}}, 400),
        ({"dashboard": "big"}, 400),
        ({"colour": "red"}, 400),
        ({"metadata": {"k" * 41: "v"}}, 400),
        ({"contact_email": 1}, 400),
    ],
)
def test_a_wrong_account_is_refused(account: Account, changed: Any, status: int) -> None:
    create = account.client.v2.core.accounts.create

    assert refusal(account, create, seller_params() | changed).http_status == status
    assert account.client.v2.core.accounts.list().data == []


@pytest.mark.parametrize(
    "changed",
    [
        {"configuration": {"merchant": {}}},
        {"configuration": {"recipient": {"capabilities": {"cards": {"requested": True}}}}},
        {"identity": {"business_details": {"script_names": {}}}},
        {"account_token": "acctok_1"},
    ],
)
def test_what_a_recipient_does_not_need_is_not_covered(account: Account, changed: Any) -> None:
    with pytest.raises(stripe.APIError) as refused:
        account.client.v2.core.accounts.create(seller_params() | changed)  # type: ignore[arg-type]

    assert refused.value.http_status == 501
    assert account.client.v2.core.accounts.list().data == []


def test_an_account_that_is_not_there_is_not_found(account: Account) -> None:
    error = refusal(account, account.client.v2.core.accounts.retrieve, "acct_none")

    assert (error.http_status, error.code) == (404, "not_found")


def test_a_repeated_key_makes_one_account_for_thirty_days(account: Account) -> None:
    params: Any = seller_params()
    create = account.client.v2.core.accounts.create
    first = create(params, {"idempotency_key": "k"})
    account.control("clock", {"advance_seconds": 29 * 24 * 3600})

    assert create(params, {"idempotency_key": "k"}).id == first.id

    with pytest.raises(stripe.IdempotencyError):
        create(params | {"display_name": "B"}, {"idempotency_key": "k"})
    account.control("clock", {"advance_seconds": 2 * 24 * 3600})
    assert create(params, {"idempotency_key": "k"}).id != first.id
    assert len(account.client.v2.core.accounts.list().data) == 2


def test_a_lost_answer_makes_one_account(account: Account) -> None:
    account.control("faults", {"drop_response": 1, "path": "/v2/core/accounts", "method": "POST"})

    seller = made(account)

    assert [each.id for each in account.client.v2.core.accounts.list()] == [seller.id]


def test_what_failed_is_tried_again_under_the_same_key(account: Account) -> None:
    seller = made(account).id
    close = account.client.v2.core.accounts.close
    account.client.v2.core.accounts.update(
        seller, {"configuration": {"recipient": {"applied": False}}}
    )
    wanted: Any = {"applied_configurations": ["recipient"]}
    with pytest.raises(stripe.InvalidRequestError):
        close(seller, wanted, {"idempotency_key": "close"})
    account.client.v2.core.accounts.update(
        seller, {"configuration": {"recipient": {"applied": True}}}
    )

    assert close(seller, wanted, {"idempotency_key": "close"}).closed is True


# --- links and their page ----------------------------------------------------------------------


def test_a_link_leads_to_a_page_that_says_it_is_simulated(account: Account) -> None:
    made_link = link(account, made(account).id)

    status, page = browse(made_link.url)

    assert status == 200
    assert "Simulated: no money moved." in page
    assert "identity.business_details.id_numbers" in page
    assert [name in page for name in ("Complete", "Leave something out", "Be refused")] == [
        True
    ] * 3
    assert "<script" not in page


@pytest.mark.parametrize(
    ("action", "status"),
    [("complete", "active"), ("leave_out", "restricted"), ("refuse", "rejected")],
)
def test_each_button_does_what_it_says_and_leads_back(
    account: Account, action: str, status: str
) -> None:
    seller = made(account).id
    url = link(account, seller).url
    browse(url)

    assert browse(url, action=action) == (303, RETURN)

    assert statuses(fetched(account, seller))[TRANSFERS] == status
    event: Any = account.client.v2.core.events.list().data[0]
    assert event.type == "v2.core.account_link.returned"
    assert event.data.to_dict() == {
        "account_id": seller,
        "configurations": ["recipient"],
        "use_case": "account_onboarding",
    }


def test_a_link_is_good_once(account: Account) -> None:
    seller = made(account).id
    url = link(account, seller).url
    assert browse(url)[0] == 200
    assert browse(url) == (303, REFRESH)

    assert browse(url, action="complete") == (303, RETURN)

    assert browse(url) == (303, REFRESH)
    assert browse(url, action="refuse") == (303, REFRESH)
    assert statuses(fetched(account, seller))[TRANSFERS] == "active"


def test_a_link_is_good_for_ten_minutes(account: Account) -> None:
    seller = made(account).id
    made_link = link(account, seller)
    assert made_link.expires_at > made_link.created
    account.control("clock", {"advance_seconds": 601})

    assert browse(made_link.url) == (303, REFRESH)
    assert browse(made_link.url, action="complete") == (303, REFRESH)

    assert statuses(fetched(account, seller))[TRANSFERS] == "restricted"


def test_who_was_refused_stays_refused_on_the_page(account: Account) -> None:
    seller = made(account).id
    account.control(f"accounts/{seller}/refuse", {})
    url = link(account, seller).url

    assert "This account was refused." in browse(url)[1]
    assert browse(url, action="complete") == (303, RETURN)

    assert statuses(fetched(account, seller))[TRANSFERS] == "rejected"


def test_a_link_without_a_way_back_ends_on_its_page(account: Account) -> None:
    params: Any = {
        "account": made(account).id,
        "use_case": {
            "type": "account_update",
            "account_update": {
                "refresh_url": REFRESH,
                "collection_options": {"fields": "eventually_due"},
            },
        },
    }
    made_link = account.client.v2.core.account_links.create(params)

    status, page = browse(made_link.url, action="complete")

    assert status == 200
    assert "You can close this page." in page


def test_the_page_of_no_link_and_an_unknown_button_are_refused(account: Account) -> None:
    seller = made(account).id
    url = link(account, seller).url

    assert browse(f"{account.url}/onboard/alu_none")[0] == 404
    assert browse(f"{account.url}/onboard/alu_none", action="complete")[0] == 404
    assert browse(url, action="bribe")[0] == 400
    assert statuses(fetched(account, seller))[TRANSFERS] == "restricted"


def test_a_wrong_link_is_refused(account: Account) -> None:
    seller = made(account).id
    plain = account.client.v2.core.accounts.create({"display_name": "Nothing yet"}).id
    create = account.client.v2.core.account_links.create
    update = {"type": "account_update", "account_onboarding": {"refresh_url": REFRESH}}

    assert refusal(account, link, account, "acct_none").code == "not_found"
    assert refusal(account, link, account, plain).http_status == 400
    assert refusal(account, create, {"account": seller, "use_case": update}).http_status == 400
    with pytest.raises(stripe.InvalidRequestError) as refused:
        link(account, seller, return_url="not a url")
    assert refused.value.code == "url_invalid"
