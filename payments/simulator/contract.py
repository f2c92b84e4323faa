"""Stripe's request contract, read from the source of the installed SDK, which Stripe generates."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

# In the SDK's services every request names its verb and path like this.
_REQUEST = re.compile(r'_request(?:_async|_stream|_stream_async)?\(\s*"([a-z]+)",\s*"(/v[^"]+)"')
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)


class ContractError(Exception):
    """A request that this API version does not know. Says which parameter, as Stripe would."""

    def __init__(self, param: str, message: str, code: str = "") -> None:
        super().__init__(message)
        self.param, self.message, self.code = param, message, code


class NoSuchOperation(ContractError):
    """No operation has this method and path."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of Stripe's API, such as POST /v1/refunds."""

    method: str
    template: str
    # The SDK's own name for it: "stripe._refund_service.RefundService.create".
    service: str
    # Module and class of its parameters; None where it takes none.
    params: tuple[str, str] | None

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


@dataclass(frozen=True, slots=True)
class Checked:
    """A request that keeps to the contract, its values read as the types they have there."""

    operation: Operation
    # What stood in the path's braces: {"session": "cs_…"}.
    arguments: dict[str, str]
    params: dict[str, Any]


# --- what a parameter may be -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text, an integer, a boolean, a decimal, nothing (null), or anything at all."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Kind


@dataclass(frozen=True, slots=True)
class MapOf:
    value: Kind


@dataclass(frozen=True, slots=True)
class AnyOf:
    options: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """A dictionary with known keys, by the name of its class; read when it is first met."""

    module: str
    name: str


Kind = Scalar | Choice | ListOf | MapOf | AnyOf | Record

_SCALARS = {
    "str": "text",
    "int": "integer",
    "bool": "boolean",
    "float": "decimal",
    "Decimal": "decimal",
    "None": "nothing",
    "Any": "anything",
    "object": "anything",
    "IO": "anything",
}


@dataclass(frozen=True, slots=True)
class Field:
    kind: Kind
    is_required: bool


# --- public ------------------------------------------------------------------------------------


def check(method: str, path: str, params: dict[str, Any], *, form: bool) -> Checked:
    """Check one request; `form` says that scalars came as text (v1 bodies and query strings).

    Raises NoSuchOperation, or ContractError for the first parameter that is wrong.
    """
    operation, arguments = find(method, path)
    if operation.params is None:
        for name in params:
            raise _unknown(name)
        return Checked(operation, arguments, {})
    value = _check_record(Record(*operation.params), params, "", form)
    return Checked(operation, arguments, value)


def find(method: str, path: str) -> tuple[Operation, dict[str, str]]:
    """The operation behind a path, and what the path names. Raises NoSuchOperation."""
    for pattern, template, module in _routes_of(method.upper(), path.count("/")):
        match = pattern.fullmatch(path)
        if match:
            return _operations(module)[method.upper(), template], match.groupdict()
    raise NoSuchOperation(
        "",
        f"Unrecognized request URL ({method.upper()}: {path}). The simulator knows the URLs of"
        f" API version {api_version()}.",
    )


def routes() -> dict[tuple[str, str], Operation]:
    """Every operation of the SDK. Reads all of its services: seconds, for tests only."""
    found: dict[tuple[str, str], Operation] = {}
    for module in sorted(_service_modules()):
        found.update(_operations(module))
    return found


def fields(record: Record) -> dict[str, Field]:
    """The keys that a dictionary of parameters may have."""
    return _module(record.module).fields(record.name)


@functools.cache
def api_version() -> str:
    """The version of Stripe's API that the installed SDK is made for."""
    return str(_module("stripe._api_version").constant("_ApiVersion", "CURRENT"))


def templates() -> set[str]:
    """The paths of all operations, with the placeholders that they have."""
    return {template for entries in _index().values() for _pattern, template, _module in entries}


@functools.cache
def has_event(type: str) -> bool:
    """Whether there is a thin event of this type, such as "v1.charge.dispute.created"."""
    return (_root() / "events" / f"_{type.replace('.', '_')}_event.py").exists()


# --- finding operations ------------------------------------------------------------------------


@functools.cache
def _root() -> Path:
    # Only found, never imported: importing it takes longer than starting the simulator.
    spec = importlib.util.find_spec("stripe")
    assert spec is not None, "The stripe package is not installed."
    assert spec.origin is not None
    return Path(spec.origin).parent


def _service_modules() -> dict[str, Path]:
    root = _root()
    return {
        ".".join(("stripe", *path.relative_to(root).with_suffix("").parts)): path
        for path in root.rglob("_*_service.py")
    }


@functools.cache
def _index() -> dict[tuple[str, int], list[tuple[re.Pattern[str], str, str]]]:
    """Method and number of slashes → (pattern, template, module), by a scan of the text.

    Parsing every service takes seconds; this takes a few hundredths of one.
    """
    seen: dict[tuple[str, str], str] = {}
    for module, path in _service_modules().items():
        for verb, template in _REQUEST.findall(path.read_text("utf-8")):
            seen.setdefault((verb.upper(), template), module)
    index: dict[tuple[str, int], list[tuple[re.Pattern[str], str, str]]] = {}
    for (method, template), module in seen.items():
        pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template))
        index.setdefault((method, template.count("/")), []).append((pattern, template, module))
    for entries in index.values():
        # A path without a placeholder goes first: /v1/charges/search is no charge's id.
        entries.sort(key=lambda entry: (entry[1].count("{"), entry[1]))
    return index


def _routes_of(method: str, slashes: int) -> list[tuple[re.Pattern[str], str, str]]:
    return _index().get((method, slashes), [])


@functools.cache
def _operations(module: str) -> dict[tuple[str, str], Operation]:
    source = _module(module)
    found: dict[tuple[str, str], Operation] = {}
    for service in source.classes.values():
        for function in service.body:
            if not isinstance(function, ast.FunctionDef):
                continue
            for method, template in _requests(function):
                found[method, template] = Operation(
                    method,
                    template,
                    f"{module}.{service.name}.{function.name}",
                    _params_class(source, function),
                )
    return found


def _requests(function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    for call in ast.walk(function):
        if not isinstance(call, ast.Call) or len(call.args) < 2:
            continue
        callee, verb, path = call.func, *call.args[:2]
        if not isinstance(callee, ast.Attribute) or not callee.attr.startswith("_request"):
            continue
        if isinstance(path, ast.Call) and isinstance(path.func, ast.Attribute):
            path = path.func.value  # "/v1/refunds/{refund}".format(…)
        if (
            isinstance(verb, ast.Constant)
            and isinstance(path, ast.Constant)
            and isinstance(path.value, str)
        ):
            yield str(verb.value).upper(), path.value


def _params_class(source: _Source, function: ast.FunctionDef) -> tuple[str, str] | None:
    for argument in function.args.args:
        if argument.arg == "params" and argument.annotation is not None:
            named = re.search(r"\w+Params\b", ast.unparse(argument.annotation))
            assert named is not None, f"Unreadable parameters: {function.name}"
            return source.imports[named.group()], named.group()
    return None


# --- reading types -----------------------------------------------------------------------------


class _Source:
    """One module of the SDK, parsed and not imported."""

    def __init__(self, name: str) -> None:
        self.name = name
        base = _root().joinpath(*name.split(".")[1:])
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        self.classes: dict[str, ast.ClassDef] = {}
        self.imports: dict[str, str] = {}
        # TypedDict("Name", {…}): written so where a key is a word of Python, such as "from".
        self.calls: dict[str, ast.Dict] = {}
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                self.imports.update({each.asname or each.name: node.module for each in node.names})
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                arguments = node.value.args
                if len(arguments) == 2 and isinstance(arguments[1], ast.Dict):
                    self.calls[ast.unparse(node.targets[0])] = arguments[1]
        self._fields: dict[str, dict[str, Field]] = {}

    def constant(self, class_name: str, name: str) -> Any:
        for node in self.classes[class_name].body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                return ast.literal_eval(node.value)
        raise LookupError(name)

    def fields(self, name: str) -> dict[str, Field]:
        if name not in self._fields:
            self._fields[name] = {
                key: self._field(annotation) for key, annotation in self._annotations(name)
            }
        return self._fields[name]

    def _annotations(self, name: str) -> Iterator[tuple[str, ast.expr]]:
        if name in self.calls:
            pairs = self.calls[name]
            for key, annotation in zip(pairs.keys, pairs.values, strict=True):
                assert isinstance(key, ast.Constant)
                yield str(key.value), annotation
            return
        node = self.classes[name]
        for base in node.bases:
            # RequestOptions are the SDK's own (keys, retries): they are never sent.
            if isinstance(base, ast.Name) and base.id not in {"TypedDict", "RequestOptions"}:
                yield from self._annotations(base.id)
        for each in node.body:
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                yield each.target.id, each.annotation

    def _field(self, annotation: ast.expr) -> Field:
        annotation = _unquoted(annotation)
        if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith(
            "NotRequired"
        ):
            return Field(self._kind(annotation.slice), is_required=False)
        return Field(self._kind(annotation), is_required=True)

    def _kind(self, annotation: ast.expr) -> Kind:
        node = _unquoted(annotation)
        if isinstance(node, ast.Constant) and node.value is None:
            return Scalar("nothing")
        if isinstance(node, ast.BinOp):
            return _any_of(self._kind(node.left), self._kind(node.right))
        if isinstance(node, ast.Subscript):
            return self._generic(node)
        name = ast.unparse(node).rsplit(".", 1)[-1]
        if name in self.classes or name in self.calls:
            return Record(self.name, name)
        if name in _SCALARS:
            return Scalar(_SCALARS[name])
        if name in self.imports:
            return Record(self.imports[name], name)
        raise LookupError(f"{self.name}: what is {ast.unparse(node)}?")

    def _generic(self, node: ast.Subscript) -> Kind:
        outer = ast.unparse(node.value).rsplit(".", 1)[-1]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        match outer:
            case "Literal":
                return Choice(tuple(ast.literal_eval(each) for each in inner))
            case "Union":
                return _any_of(*(self._kind(each) for each in inner))
            case "Optional":
                return _any_of(self._kind(inner[0]), Scalar("nothing"))
            case "List" | "list":
                return ListOf(self._kind(inner[0]))
            case "Dict" | "dict" | "Mapping":
                return MapOf(self._kind(inner[1]))
            case "UntypedStripeObject":
                return MapOf(self._kind(inner[0]))
            case "IO":
                return Scalar("anything")
        raise LookupError(f"{self.name}: what is {ast.unparse(node)}?")


@functools.cache
def _module(name: str) -> _Source:
    return _Source(name)


def _unquoted(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value.strip(), mode="eval").body
    return node


def _any_of(*kinds: Kind) -> Kind:
    """One of several. Enums are written open, `Literal[…] | str`; here they are closed.

    Only `Literal[""] | str` stays open: it says that empty text unsets the value.
    """
    options: list[Kind] = []
    for kind in kinds:
        options.extend(kind.options if isinstance(kind, AnyOf) else [kind])
    if any(isinstance(option, Choice) and option.values != ("",) for option in options):
        options = [option for option in options if option != Scalar("text")]
    unique = tuple(dict.fromkeys(options))
    return unique[0] if len(unique) == 1 else AnyOf(unique)


# --- checking values ---------------------------------------------------------------------------


def _unknown(param: str) -> ContractError:
    return ContractError(param, f"Received unknown parameter: {param}", "parameter_unknown")


def _check_record(record: Record, value: Any, path: str, form: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ContractError(path, "Invalid object")
    known = fields(record)
    checked: dict[str, Any] = {}
    for name, each in value.items():
        param = f"{path}[{name}]" if path else str(name)
        if name not in known:
            raise _unknown(param)
        checked[name] = _check(known[name].kind, each, param, form)
    for name, field in known.items():
        if field.is_required and name not in value:
            param = f"{path}[{name}]" if path else name
            raise ContractError(param, f"Missing required param: {param}.", "parameter_missing")
    return checked


def _check(kind: Kind, value: Any, path: str, form: bool) -> Any:
    match kind:
        case Scalar(name):
            if form and value == "" and name not in {"nothing", "anything"}:
                raise ContractError(
                    path,
                    f"You passed an empty string for '{path}'. We assume empty values are an"
                    f" attempt to unset a parameter; however '{path}' cannot be unset. You should"
                    f" remove '{path}' from your request or supply a non-empty value.",
                    "parameter_invalid_empty",
                )
            return _SCALAR_CHECKS[name](value, path, form)
        case Choice(values):
            return _check_choice(values, value, path, form)
        case Record():
            return _check_record(kind, value, path, form)
        case ListOf(item):
            return [
                _check(item, each, f"{path}[{number}]", form)
                for number, each in enumerate(_listed(value, path, form))
            ]
        case MapOf(each_kind):
            if not isinstance(value, dict):
                raise ContractError(path, "Invalid object")
            return {
                # In a map of the caller's own, empty text unsets a key.
                name: each if each == "" else _check(each_kind, each, f"{path}[{name}]", form)
                for name, each in value.items()
            }
        case AnyOf(options):
            return _check_any(options, value, path, form)


def _check_any(options: tuple[Kind, ...], value: Any, path: str, form: bool) -> Any:
    errors: list[ContractError] = []
    for option in options:
        try:
            return _check(option, value, path, form)
        except ContractError as error:
            errors.append(error)
    # The one that got deepest into the value says the most.
    raise max(errors, key=lambda error: len(error.param))


def _listed(value: Any, path: str, form: bool) -> list[Any]:
    if form and isinstance(value, dict) and value and all(key.isdecimal() for key in value):
        return [value[key] for key in sorted(value, key=int)]
    if not isinstance(value, list):
        raise ContractError(path, "Invalid array")
    return value


def _check_choice(values: tuple[Any, ...], value: Any, path: str, form: bool) -> Any:
    for choice in values:
        if type(choice) is type(value) and choice == value:
            return choice
        if form and isinstance(value, str) and _as_form(choice) == value:
            return choice
    last = path.rsplit("[", 1)[-1].rstrip("]")
    listed = ", ".join(str(choice) for choice in values)
    raise ContractError(path, f"Invalid {last}: must be one of {listed}")


def _as_form(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_text(value: Any, path: str, form: bool) -> str:
    if not isinstance(value, str):
        raise ContractError(path, f"Invalid string: {value!r}")
    return value


def _check_integer(value: Any, path: str, form: bool) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and not form:
        return value
    if form and isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise ContractError(path, f"Invalid integer: {value}", "parameter_invalid_integer")


def _check_boolean(value: Any, path: str, form: bool) -> bool:
    if isinstance(value, bool):
        return value
    if form and isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    raise ContractError(path, f"Invalid boolean: {value}")


def _check_decimal(value: Any, path: str, form: bool) -> str:
    try:
        number = Decimal(value) if isinstance(value, str) else Decimal(repr(value))
        if not number.is_finite():
            raise InvalidOperation
    except (InvalidOperation, ValueError, TypeError):
        raise ContractError(path, f"Invalid decimal: {value}") from None
    return format(number, "f")


def _check_nothing(value: Any, path: str, form: bool) -> None:
    if value is not None and value != "":
        raise ContractError(path, "Invalid value: must be empty")


def _check_anything(value: Any, path: str, form: bool) -> Any:
    return value


_SCALAR_CHECKS = {
    "text": _check_text,
    "integer": _check_integer,
    "boolean": _check_boolean,
    "decimal": _check_decimal,
    "nothing": _check_nothing,
    "anything": _check_anything,
}
