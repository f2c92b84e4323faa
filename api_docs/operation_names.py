"""What each operation is called: a verb and nouns, by rule from its method, path and action."""

from __future__ import annotations

# Where the rule's verb would say something else than what happens.
NAMED = {
    ("POST", "/v1/decisions"): "decide_uses",
    ("POST", "/v1/collections/{id}/imports"): "start_collection_import",
    ("POST", "/v1/collections/{id}/works"): "add_collection_work",
    ("POST", "/v1/collections/{id}/works/bulk"): "add_collection_works",
    ("POST", "/v1/contributors/{id}/consent"): "record_contributor_consent",
    ("POST", "/v1/listings/{id}/access-requests"): "create_access_request",
    ("POST", "/v1/listings/{id}/sample"): "take_listing_sample",
    ("POST", "/v1/members/{id}/role"): "change_member_role",
    ("POST", "/v1/notices/acknowledge"): "acknowledge_notices",
    ("POST", "/v1/offers/{id}/sample"): "choose_offer_sample",
    ("POST", "/v1/opt-outs/bulk"): "create_opt_outs",
    ("POST", "/v1/royalty-payments/{id}/paid-outside"): "record_royalty_payment_paid_outside",
    ("POST", "/v1/trader"): "submit_trader",
}
# The same in the singular and in the plural.
_UNCOUNTED = frozenset({"terms"})
# What is made is one, whatever the address calls it.
_MAKES_ONE = frozenset({"create", "preview"})


def operation_id(method: str, path: str, action: str, *, is_list: bool) -> str:
    """The operation's id, such as `get_grant_receipt`: `^[a-z]+(_[a-z]+)+$`.

    `path` is that of the document (`/v1/grants/{id}/receipt`), `action` the view's, and `is_list`
    says that the answer is a page of rows. To rename one breaks every generated client, which
    `api_docs.breaking` says.
    """
    named = NAMED.get((method, path))
    if named is not None:
        return named
    parts = path.strip("/").split("/")[1:]
    parts[-1], dot, _kind = parts[-1].partition(".")
    if method == "GET":
        verb = "download" if dot else "list" if is_list else "get"
    else:
        # `set_metadata` of …/metadata sets it.
        does = action.removesuffix("_" + parts[-1].replace("-", "_"))
        verb = "preview" if parts[-1] == "preview" else does
    if parts[-1].replace("-", "_") == verb:
        parts.pop()
    nouns = []
    for place, part in enumerate(parts):
        is_last = place == len(parts) - 1
        is_one = verb in _MAKES_ONE if is_last else parts[place + 1] == "{id}"
        if part != "{id}":
            nouns.append(_singular(part) if is_one else part)
    return "_".join([verb, *nouns]).replace("-", "_")


def _singular(noun: str) -> str:
    if noun in _UNCOUNTED:
        return noun
    return f"{noun[:-3]}y" if noun.endswith("ies") else noun.removesuffix("s")
