"""Coverage: which parameters a behavior acts on. Any other valid one is answered with 501."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from payments.simulator.errors import ApiError, Uncovered


def check(given: Iterable[str], covered: Collection[str], what: str, *, path: str = "") -> None:
    """Refuse what the simulator has no behavior for; `what` is "an invoice", for people."""
    for name in given:
        if name not in covered:
            raise Uncovered(f"{name} of {what}", param=f"{path}[{name}]" if path else name)


def check_length(value: str | None, length_max: int, *, param: str) -> None:
    if value is not None and len(value) > length_max:
        raise ApiError(f"Invalid string: must be at most {length_max} characters", param=param)


def missing(param: str) -> ApiError:
    return ApiError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def exclusive(*names: str) -> ApiError:
    """Only one of these may be given."""
    return ApiError(
        f"You may only specify one of these parameters: {', '.join(names)}.",
        code="parameters_exclusive",
        param=names[0],
    )
