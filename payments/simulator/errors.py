"""Refusals, in the form in which Stripe's API answers them."""

from __future__ import annotations

from typing import Any

from payments.simulator.contract import ContractError, NoSuchOperation


class ApiError(Exception):
    """An answer that is no success: https://docs.stripe.com/api/errors.

    `is_outcome` says that the call was carried out and this is what came of it: an idempotency
    key then replays it. A request that was refused for what it says is not remembered.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str = "",
        param: str = "",
        is_outcome: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.type = message, status, type
        self.code, self.param, self.is_outcome = code, param, is_outcome
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"message": self.message, "type": self.type}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"https://docs.stripe.com/error-codes/{self.code.replace('_', '-')}"
        if self.param:
            error["param"] = self.param
        return {"error": error}


class Uncovered(ApiError):
    """Right for Stripe, and beyond the simulator: it says so, and never invents a success."""

    def __init__(self, what: str, *, param: str = "") -> None:
        super().__init__(
            f"The simulator has no behavior for {what}. Stripe's own test mode has.",
            status=501,
            type="api_error",
            param=param,
        )


def of_contract(error: ContractError) -> ApiError:
    """A breach of the request contract, as Stripe answers it."""
    status = 404 if isinstance(error, NoSuchOperation) else 400
    return ApiError(error.message, status=status, code=error.code, param=error.param)


def missing(kind: str, id: str, *, param: str, status: int = 404) -> ApiError:
    """Nothing has this id."""
    return ApiError(f"No such {kind}: '{id}'", status=status, code="resource_missing", param=param)
