"""Every refusal that a client can meet. `code` is a promise: documented, never renamed."""

from __future__ import annotations

from typing import Any, ClassVar


def printable(text: str) -> str:
    """Text that may repeat what a client sent, fit for a terminal, a log and PostgreSQL."""
    return "".join(
        each if each.isprintable() or each == "\n" else f"\\u{ord(each):04x}" for each in text
    )


class DomainError(Exception):
    """A refusal, rendered as a problem document (RFC 9457) at the edge. Details are data."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"
    # True where the same request may succeed later without a change.
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "", **data: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.data = data


class InternalError(DomainError):
    """We failed. The request id finds it in the logs."""

    retryable = True


class NotReady(DomainError):
    """This process lacks something that it needs to serve. `checks` says what."""

    code, status, title = "not_ready", 503, "Not ready"
    retryable = True


class Unavailable(DomainError):
    """The database did not answer in time: too much at once, or too much asked for."""

    code, status, title = "unavailable", 503, "Not available now"
    retryable = True


class MalformedRequest(DomainError):
    """The body could not be read at all."""

    code, status, title = "malformed_request", 400, "The request could not be read"


class InvalidQuery(DomainError):
    """A parameter of the address is unknown there, or stands twice. `param` names it."""

    code, status, title = "invalid_query", 400, "The query is not valid"


class ApiVersionUnknown(DomainError):
    """There is no such version of the API, or no more. `known` lists those that there are."""

    code, status, title = "api_version_unknown", 400, "The API version is unknown"


class InvalidCursor(DomainError):
    """A page cursor that this server did not give out for this list."""

    code, status, title = "invalid_cursor", 400, "The page cursor is not valid"


class InvalidInput(DomainError):
    """The body was read, and a field of it is wrong. `param` names the field."""

    code, status, title = "invalid_input", 422, "A field is not valid"

    def __init__(self, detail: str, *, param: str, **data: Any) -> None:
        super().__init__(detail, param=param, **data)


class Unauthenticated(DomainError):
    """No key, or one that is unknown, expired or revoked."""

    code, status, title = "unauthenticated", 401, "Authentication is needed"


class MalformedApiKey(DomainError):
    """The key's own checksum fails: it was cut or mistyped."""

    code, status, title = "malformed_api_key", 401, "This is not a Licet API key"


class TooManyRequests(DomainError):
    """The quota is spent. `retry_after` says in how many seconds there is enough of it again."""

    code, status, title = "too_many_requests", 429, "Too many requests"
    retryable = True


class MissingScope(DomainError):
    """The key is good, but may not do this kind of thing."""

    code, status, title = "missing_scope", 403, "The key lacks a scope"


class CsrfTokenInvalid(DomainError):
    """A signed-in member's write came without the token of this site, or from another site."""

    code, status, title = "csrf_token_invalid", 403, "The CSRF token is missing or wrong"


class SecondFactorNeeded(DomainError):
    """A signed-in member's session lacks the second factor that this market asks for."""

    code, status, title = "second_factor_needed", 403, "A second factor is needed"


class SignInRefused(DomainError):
    """An identity provider's word does not let this person in. Says why."""

    code, status, title = "sign_in_refused", 403, "You were not signed in"


class NotFound(DomainError):
    """Not there, or not yours: the two look the same."""

    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(DomainError):
    """The resource does not have this method."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class NotAcceptable(DomainError):
    """None of the media types asked for can be given."""

    code, status, title = "not_acceptable", 406, "Not acceptable"


class LengthRequired(DomainError):
    """The body comes in chunks, and nothing says how long it is."""

    code, status, title = "length_required", 411, "The length is missing"


class RequestTooLarge(DomainError):
    """The body is larger than this server reads at once."""

    code, status, title = "request_too_large", 413, "The request is too large"


class UnsupportedMediaType(DomainError):
    """The body's media type is not one that this endpoint reads."""

    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


class IdempotencyKeyReused(DomainError):
    """The key came before with another request."""

    code, status, title = "idempotency_key_reused", 422, "The idempotency key was used before"


class IdempotencyInFlight(DomainError):
    """The first request with this key has not ended."""

    code, status, title = "idempotency_in_flight", 409, "The first request is still under way"
    retryable = True


class DuplicateExternalId(DomainError):
    """The organization already has something under this external id."""

    code, status, title = "duplicate_external_id", 409, "The external id is taken"


class ImportUnderWay(DomainError):
    """Another process goes on with the same import."""

    code, status, title = "import_under_way", 409, "The import is under way"


class ImportSourceChanged(DomainError):
    """The file is not the one whose import stopped: it cannot be gone on with."""

    code, status, title = "import_source_changed", 409, "The import's file has changed"


class ImportEnded(DomainError):
    """The import has ended: there is nothing to cancel."""

    code, status, title = "import_ended", 409, "The import has ended"


class UploadUnderWay(DomainError):
    """Another request is sending to, or finishing, the same upload."""

    code, status, title = "upload_under_way", 409, "The upload is under way"
    retryable = True


class UploadOffsetMismatch(DomainError):
    """The piece does not begin where the upload ends now. `offset` says where that is."""

    code, status, title = "upload_offset_mismatch", 409, "The upload goes on elsewhere"


class UploadIncomplete(DomainError):
    """Bytes are missing. `offset` says how many came."""

    code, status, title = "upload_incomplete", 409, "The upload is not complete"


class UploadWrongState(DomainError):
    """The upload's state does not allow this step."""

    code, status, title = "upload_wrong_state", 409, "The upload's state does not allow this"


class UploadsFull(DomainError):
    """The organization's uploads together would be larger than this server keeps."""

    code, status, title = "uploads_full", 409, "Too much is uploaded already"


class DigestMismatch(DomainError):
    """The bytes that came are not those that were announced."""

    code, status, title = "digest_mismatch", 422, "The digest is another one"


class WorkRefused(DomainError):
    """The work cannot be put into the collection. `reason` says why, as an import would."""

    code, status, title = "work_refused", 409, "The work was not added"


class CollectionNotAttested(DomainError):
    """Nobody has yet attested the basis of the rights in this collection."""

    code, status, title = "collection_not_attested", 409, "The rights basis is not attested"


class LegalIdentityIncomplete(DomainError):
    """Live mode needs to know who the organization is to the law. `missing` names the fields."""

    code, status, title = "legal_identity_incomplete", 409, "The legal identity is incomplete"


class InvitationEnded(DomainError):
    """The link was used, called back, or its time is over."""

    code, status, title = "invitation_ended", 410, "The invitation has ended"


class InvitationForAnother(DomainError):
    """The link was mailed to another address than that of the person who is signed in."""

    code, status, title = "invitation_for_another", 403, "The invitation is for somebody else"


class TooManyWebhookEndpoints(DomainError):
    """The organization has as many webhook endpoints as it may have: `endpoints_max`."""

    code, status, title = "too_many_webhook_endpoints", 409, "There are too many endpoints"


class WebhookEndpointDisabled(DomainError):
    """Nothing is sent to a disabled endpoint: enable it first."""

    code, status, title = "webhook_endpoint_disabled", 409, "The endpoint is disabled"


class WebhookSecretOverlaps(DomainError):
    """The secret before the newest still signs, until `previous_secret_ends_at`."""

    code, status, title = "webhook_secret_overlaps", 409, "Two secrets sign already"


class MailUnavailable(DomainError):
    """The mail server took no mail, so nothing was done."""

    code, status, title = "mail_unavailable", 503, "No mail can be sent"
    retryable = True


class LastOwner(DomainError):
    """An organization keeps at least one owner."""

    code, status, title = "last_owner", 409, "This is the last owner"


class LastOperator(DomainError):
    """A market keeps at least one operator."""

    code, status, title = "last_operator", 409, "This is the last operator"


class WorksProhibitMining(DomainError):
    """Files in the collection prohibit data mining, and nobody has answered for them."""

    code, status, title = "works_prohibit_mining", 409, "Works prohibit data mining"


class NothingToOverride(DomainError):
    """No file in the collection prohibits data mining without an answer."""

    code, status, title = "nothing_to_override", 409, "There is nothing to override"


class CollectionEmpty(DomainError):
    """There is nothing in the collection to freeze."""

    code, status, title = "collection_empty", 409, "The collection is empty"


class TermsAlreadyPublished(DomainError):
    """Published terms never change: publish a new version."""

    code, status, title = "terms_already_published", 409, "The terms are published"


class TermsNotPublished(DomainError):
    """An offer needs terms that can no longer change."""

    code, status, title = "terms_not_published", 409, "The terms are not published"


class TermsNeedHuman(DomainError):
    """Terms with free words are sold on request alone: a person reads them before each license."""

    code, status, title = "terms_need_human", 409, "A person must read these terms first"


class OfferNotBuyable(DomainError):
    """The offer is a draft, withdrawn, or outside its sales window."""

    code, status, title = "offer_not_buyable", 409, "The offer is not on sale"


class OfferWrongState(DomainError):
    """The offer's state does not allow this step."""

    code, status, title = "offer_wrong_state", 409, "The offer's state does not allow this"


class NothingToLicense(DomainError):
    """Every work of the snapshot is opted out or held."""

    code, status, title = "nothing_to_license", 409, "There is no work to license"


class OwnCollection(DomainError):
    """An organization cannot license its own collection."""

    code, status, title = "own_collection", 409, "The collection is your own"


class OfferIsOpen(DomainError):
    """The offer needs no approval."""

    code, status, title = "offer_is_open", 409, "The offer needs no approval"


class AccessNotApproved(DomainError):
    """The offer is sold on request, and its seller has not approved this buyer for this scope."""

    code, status, title = "access_not_approved", 409, "The seller has not approved this"


class AccessAlreadyRequested(DomainError):
    """The buyer's question about this offer awaits its answer."""

    code, status, title = "access_already_requested", 409, "Access was requested already"


class AccessRequestWrongState(DomainError):
    """The request was decided, canceled, or has expired."""

    code, status, title = "access_request_wrong_state", 409, "The request is no longer open"


class NotSupportedYet(DomainError):
    """What was asked for is understood, and this version cannot do it. `param` names the field."""

    code, status, title = "not_supported_yet", 422, "Not supported yet"


class QuoteExpired(DomainError):
    """The quote's time is over: ask for a new one."""

    code, status, title = "quote_expired", 409, "The quote has expired"


class QuoteAlreadyAccepted(DomainError):
    """A quote makes one order."""

    code, status, title = "quote_already_accepted", 409, "The quote was accepted before"


class AcceptedDocumentMismatch(DomainError):
    """The acceptance names another document than the one quoted."""

    code, status, title = "accepted_document_mismatch", 409, "Another document was accepted"


class OptedOut(DomainError):
    """The works were taken out of licensing."""

    code, status, title = "opted_out", 409, "The works are opted out"


class NothingToOptOut(DomainError):
    """What was named holds no works."""

    code, status, title = "nothing_to_opt_out", 409, "There is nothing to opt out"


class LinkUsed(DomainError):
    """The contributor's link was used, was revoked, or is too old. It works once."""

    code, status, title = "link_used", 410, "The link no longer works"


class RightsTaken(DomainError):
    """Exclusive rights stand against this scope, or others hold it already."""

    code, status, title = "rights_taken", 409, "The rights are taken"


class PaymentProviderUnavailable(DomainError):
    """Stripe could not be reached. The order stands; the same call continues it."""

    code, status, title = "payment_provider_unavailable", 503, "Stripe cannot be reached"
    retryable = True


class PaymentProviderRefused(DomainError):
    """Stripe refused the request."""

    code, status, title = "payment_provider_refused", 502, "Stripe refused the request"


class PaymentModeUnavailable(DomainError):
    """A live order at a market whose Stripe key is for tests, or the reverse."""

    code, status, title = "payment_mode_unavailable", 409, "No payments in this mode"


class SellerCannotBePaid(DomainError):
    """The seller has no account that Stripe pays, or that this market may pay, in this mode."""

    code, status, title = "seller_cannot_be_paid", 409, "The seller cannot be paid"


class RegionNotSupported(DomainError):
    """Stripe makes no transfers from the market's country to the seller's."""

    code, status, title = "region_not_supported", 409, "No payments between these countries"


class ContributorErased(DomainError):
    """Who the contributor is was erased: nothing new is opened for somebody nobody knows."""

    code, status, title = "contributor_erased", 409, "The contributor was erased"


class OrderWrongState(DomainError):
    """The order's state does not allow this step."""

    code, status, title = "order_wrong_state", 409, "The order's state does not allow this"


class RoyaltyPayoutChanged(DomainError):
    """What would be paid to contributors now is not what was previewed."""

    code, status, title = "royalty_payout_changed", 409, "What is to be paid has changed"


class RoyaltyPayoutRunning(DomainError):
    """A payout in the same currency is still being written."""

    code, status, title = "royalty_payout_running", 409, "Another payout is being written"


class RoyaltyPaymentWrongState(DomainError):
    """The payment to a contributor does not wait to be paid."""

    code, status, title = "royalty_payment_wrong_state", 409, "The payment is not due"


class RefundTooLarge(DomainError):
    """More than is left of the payment: something was given back before, or is under way."""

    code, status, title = "refund_too_large", 409, "Less than that is left to give back"


class RefundWrongState(DomainError):
    """The refund was decided before."""

    code, status, title = "refund_wrong_state", 409, "The refund was decided"


class PaymentDisputed(DomainError):
    """The buyer's bank wants the payment back: nothing else is done with it until that is over."""

    code, status, title = "payment_disputed", 409, "The payment is disputed"


class OrderNotPayable(DomainError):
    """The order can no longer be paid: ask for a new quote."""

    code, status, title = "order_not_payable", 409, "The order cannot be paid"


class PaidAmountDiffers(DomainError):
    """Something else came than was asked for. Stands as an order's refusal; it is refunded."""

    code, status, title = "paid_amount_differs", 409, "Another amount was paid"


class TooManyReports(DomainError):
    """One sender, or one address, reported as much as a market can look at in a day."""

    code, status, title = "too_many_reports", 429, "Too many reports"
    retryable = True


class ReportWrongState(DomainError):
    """The report was decided before, or was joined to another that is decided with it."""

    code, status, title = "report_wrong_state", 409, "The report's state does not allow this"


class DecisionWrongState(DomainError):
    """The decision has ended, or what it was about was decided otherwise."""

    code, status, title = "decision_wrong_state", 409, "The decision's state does not allow this"


class AppealTooLate(DomainError):
    """An appeal is made within six months of the decision."""

    code, status, title = "appeal_too_late", 409, "It is too late to appeal"


class AnotherOperatorNeeded(DomainError):
    """Whoever decided first does not decide about the objection to it, nor lifts their own hold."""

    code, status, title = "another_operator_needed", 409, "Another operator must do this"


class SalesSuspended(DomainError):
    """By a moderation decision, nothing of the seller is on sale."""

    code, status, title = "sales_suspended", 409, "The seller's sales are suspended"


class TraderNotVerified(DomainError):
    """In live mode nothing is listed or sold before an operator verified who the seller is."""

    code, status, title = "trader_not_verified", 409, "The seller is not verified"


class TraderWrongState(DomainError):
    """There is no identity of a trader to decide about, or it was decided."""

    code, status, title = "trader_wrong_state", 409, "The trader's state does not allow this"


class LegallyHeld(DomainError):
    """The records are kept while a matter is open: nothing of them is erased until it is lifted."""

    code, status, title = "legally_held", 409, "The records are held"


class GrantNotInForce(DomainError):
    """The grant is suspended, revoked, expired, or outside its access window."""

    code, status, title = "grant_not_in_force", 409, "The grant is not in force"


class GrantWrongState(DomainError):
    """The grant has ended, or is not suspended: this step is not open to it."""

    code, status, title = "grant_wrong_state", 409, "The grant's state does not allow this"


class StatusNotRecorded(DomainError):
    """No status root, of those that are asked for, contains the grant. Says when the next is."""

    code, status, title = "status_not_recorded", 404, "No status is recorded yet"
    retryable = True


class TermsForbid(DomainError):
    """The grant's own terms say that this is not done: not renewed, not amended, not extended."""

    code, status, title = "terms_forbid", 409, "The grant's terms do not allow this"


class LinkInvalid(DomainError):
    """The delivery link was not signed by this server."""

    code, status, title = "link_invalid", 403, "The link is not valid"


class LinkExpired(DomainError):
    """The delivery link is too old: ask for the manifest again."""

    code, status, title = "link_expired", 403, "The link has expired"
    retryable = True


class WorkOptedOut(DomainError):
    """The work was taken out of licensing: it is delivered no more, under any link."""

    code, status, title = "work_opted_out", 410, "The work was opted out"


class WorkHeld(DomainError):
    """The work is held, or claimed by somebody, until that is decided."""

    code, status, title = "work_held", 409, "The work is held"


class ManifestChanged(DomainError):
    """Since the manifest was fetched, works were taken out or came back."""

    code, status, title = "manifest_changed", 409, "The manifest is another one now"
    retryable = True


class RangeNotSatisfiable(DomainError):
    """The range asked for begins past the end."""

    code, status, title = "range_not_satisfiable", 416, "The range is not satisfiable"


class WebhookSignatureInvalid(DomainError):
    """The delivery is unsigned, signed with another secret, or too old."""

    code, status, title = "webhook_signature_invalid", 400, "The webhook signature is not valid"


class WebhookModeMismatch(DomainError):
    """A live event at a test endpoint, or the reverse."""

    code, status, title = "webhook_mode_mismatch", 400, "The event is of the other mode"
