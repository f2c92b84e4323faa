"""Which refusals an operation can answer with, read from the code that answers it."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from django.apps import apps

from marketplace import errors
from marketplace.errors import DomainError

_OURS = ("marketplace", "licensing", "payments")
# What any request can meet before a view reads it, or by our own failure.
EVERYWHERE: tuple[type[DomainError], ...] = (
    errors.MalformedRequest,
    errors.InvalidQuery,
    errors.ApiVersionUnknown,
    errors.NotAcceptable,
    errors.TooManyRequests,
    errors.InternalError,
    errors.Unavailable,
)
# What REST framework finds wrong with a body.
WITH_BODY: tuple[type[DomainError], ...] = (
    errors.LengthRequired,
    errors.RequestTooLarge,
    errors.UnsupportedMediaType,
    errors.InvalidInput,
)


def all_kinds() -> list[type[DomainError]]:
    """Every refusal that a client can meet, by status and code."""
    found: list[type[DomainError]] = []
    stack = [DomainError]
    while stack:
        kind = stack.pop()
        stack += kind.__subclasses__()
        if kind is not DomainError:
            found.append(kind)
    return sorted(found, key=lambda kind: (kind.status, kind.code))


def raised_by(view: type, action: str) -> frozenset[type[DomainError]]:
    """The refusals that `action` of `view`, or anything it calls, constructs.

    Follows every name that leads to code of ours: modules' functions, the view's own methods,
    and by their name the methods of models and their querysets. So it names all that can be
    raised, and at times one that a caller catches. What REST framework raises is not among it.
    """
    found: set[type[DomainError]] = set()
    seen: set[FunctionType] = set()
    stack: list[Any] = [getattr(view, action)]
    while stack:
        function = inspect.unwrap(stack.pop())
        if not isinstance(function, FunctionType) or function in seen or not _is_ours(function):
            continue
        seen.add(function)
        kinds, called = _read(function)
        found |= kinds
        for name in called.of_self:
            stack += [vars(kind)[name] for kind in view.__mro__ if name in vars(kind)]
        stack += called.functions
    return frozenset(found)


class _Called:
    """What a function refers to."""

    def __init__(self) -> None:
        self.functions: list[Any] = []
        self.of_self: set[str] = set()


@functools.cache
def _read(function: FunctionType) -> tuple[frozenset[type[DomainError]], _Called]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    kinds = set()
    called = _Called()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call | ast.Raise):
            made = _resolve(node.func if isinstance(node, ast.Call) else node.exc, function)
            if isinstance(made, type) and issubclass(made, DomainError):
                kinds.add(made)
        if isinstance(node, ast.Name | ast.Attribute):
            called.functions += _referred(node, function, called)
    return frozenset(kinds), called


def _referred(node: ast.Name | ast.Attribute, function: FunctionType, called: _Called) -> list[Any]:
    target = _resolve(node, function)
    if isinstance(target, FunctionType):
        return [target]
    if target is not None or isinstance(node, ast.Name):
        return []
    of = ast.unparse(node.value)
    if of in {"self", "super()", "cls"}:
        called.of_self.add(node.attr)
    return _methods().get(node.attr, [])


def _resolve(node: ast.AST | None, function: FunctionType) -> Any:
    """What a dotted name means where `function` stands; None for anything that is no name."""
    if isinstance(node, ast.Name):
        return function.__globals__.get(node.id)
    if isinstance(node, ast.Attribute):
        of = _resolve(node.value, function)
        if isinstance(of, ModuleType | type):
            found = inspect.getattr_static(of, node.attr, None)
            return found.__func__ if isinstance(found, staticmethod | classmethod) else found
    return None


def _is_ours(function: FunctionType) -> bool:
    # What a plan cannot answer it leaves to the view: it refuses nothing itself.
    name = function.__module__
    return name.partition(".")[0] in _OURS and name != "marketplace.readplan"


@functools.cache
def _methods() -> dict[str, list[FunctionType]]:
    """The methods of our models and their querysets, by name: `row.x()` may be any of them."""
    found: dict[str, list[FunctionType]] = defaultdict(list)
    for kind in _kinds_of_rows():
        for name, value in vars(kind).items():
            if isinstance(value, property):
                value = value.fget
            if isinstance(value, FunctionType) and _is_ours(value):
                found[name].append(value)
    return found


def _kinds_of_rows() -> Iterator[type]:
    known = set()
    for model in apps.get_models():
        rows = model._default_manager.all()
        for kind in (*model.__mro__, *type(rows).__mro__):
            if kind.__module__.partition(".")[0] in _OURS and kind not in known:
                known.add(kind)
                yield kind
