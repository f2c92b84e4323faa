"""Traces for OpenTelemetry: a span for each request, job, call to Stripe and statement.

Off unless LICET_OTEL is set. Where they go is said by OpenTelemetry's own variables:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
No span holds a body, a path, a statement's text or its parameters, or an exception's message.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.signals import connection_created

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from marketplace.log_lines import Doing

# Of what a caller's trace may say here: no baggage, which is anybody's text.
_TAKEN: Final = ("traceparent", "tracestate")
_TABLE: Final = re.compile(r'\b(?:FROM|INTO|UPDATE)\s+"?([a-z_][a-z0-9_]*)"?', re.IGNORECASE)
_NAMED: Final = ("db.operation.name", "db.collection.name")
_WORD: Final = re.compile(r"\s*([A-Za-z]+)")


def check() -> None:
    """Raise ImproperlyConfigured, in words, where traces are on and their packages are missing."""
    if not settings.OTEL:
        return
    for package in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        try:
            is_there = importlib.util.find_spec(package) is not None
        except ModuleNotFoundError:
            is_there = False
        if not is_there:
            raise ImproperlyConfigured(
                f"LICET_OTEL is on, and the package of {package} is missing: install Licet with"
                " its extra “otel”, or unset LICET_OTEL."
            )
    connection_created.connect(_watch)


@contextmanager
def span(name: str, **attributes: str) -> Iterator[Span | None]:
    """Time a block. None where traces are off."""
    if not settings.OTEL:
        yield None
        return
    from opentelemetry.trace import SpanKind

    with _begun(name, SpanKind.INTERNAL, None, attributes) as opened:
        yield opened


@contextmanager
def of_request(headers: Mapping[str, str]) -> Iterator[Span | None]:
    """The span of a request, in the trace that its headers name (W3C Trace Context), if any.

    OTEL_PROPAGATORS=none: always in a trace of its own.
    """
    from opentelemetry import propagate
    from opentelemetry.trace import SpanKind

    carrier = {name: headers[name] for name in _TAKEN if name in headers}
    with _begun("request", SpanKind.SERVER, propagate.extract(carrier), {}) as opened:
        yield opened


def finish_request(span: Span, *, method: str, route: str, status: int, doing: Doing) -> None:
    """Name a request's span by its route, and say whose it was and how it ended."""
    from opentelemetry.trace import StatusCode

    span.update_name(f"{method} {route}")
    span.set_attribute("http.request.method", method)
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("licet.request_id", doing.request_id)
    if doing.organization:
        span.set_attribute("licet.organization", doing.organization)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


# --- the SDK ----------------------------------------------------------------------------------


def exporter() -> SpanExporter:
    """Where spans go: to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


_making = threading.Lock()
_provider: TracerProvider | None = None


def provider() -> TracerProvider:
    """This process's own, made with its first span: a thread of it does not survive a fork."""
    global _provider
    with _making:
        if _provider is None:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say otherwise.
            said = Resource({"service.name": f"licet-{settings.PROCESS}"})
            _provider = TracerProvider(resource=said.merge(Resource.create()))
            _provider.add_span_processor(BatchSpanProcessor(exporter()))
        return _provider


@contextmanager
def _begun(name: str, kind: Any, context: Any, attributes: Mapping[str, str]) -> Iterator[Span]:
    from opentelemetry.trace import StatusCode

    tracer = provider().get_tracer("licet")
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=kind,
        attributes=attributes,
        # An exception's message may hold what a client sent, or a secret.
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        try:
            yield opened
        except Exception as error:
            opened.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def _watch(connection: Any, **_signal: Any) -> None:
    # Said again each time that a connection comes from the pool.
    if _statement not in connection.execute_wrappers:
        connection.execute_wrappers.append(_statement)


def _statement(
    execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """A statement within a span: what it does to which table, and nothing else of it."""
    from opentelemetry import trace

    if not trace.get_current_span().is_recording():
        return execute(sql, params, many, context)
    text = sql if isinstance(sql, str) else ""
    word, table = _WORD.match(text), _TABLE.search(text)
    attributes = {"db.system.name": "postgresql"}
    if word:
        attributes["db.operation.name"] = word[1].upper()
    if table:
        attributes["db.collection.name"] = table[1]
    name = " ".join(attributes[each] for each in _NAMED if each in attributes)
    with _begun(name or "statement", trace.SpanKind.CLIENT, None, attributes):
        return execute(sql, params, many, context)
