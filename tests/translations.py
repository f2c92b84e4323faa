"""Every string that people read, and what of it is not translated: `python -m tests.translations`.

Reads the sources itself, with Django's own reader of templates: no tool of the system is needed.
`--write` brings the catalogs up to date and compiles them.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import django
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
APPS = ("marketplace", "licensing", "payments")
LANGUAGES = ("de",)
# The name of a function -> which of its arguments are texts.
_CALLS = {
    "_": (0,),
    "gettext": (0,),
    "gettext_lazy": (0,),
    "gettext_noop": (0,),
    "ngettext": (0, 1),
    "ngettext_lazy": (0, 1),
}
_IN_TEMPLATES = re.compile(
    r"""\b(n?gettext|_)\(\s*u?((?:'(?:[^'\\]|\\.)*')|(?:"(?:[^"\\]|\\.)*"))"""
    r"""(?:\s*,\s*u?((?:'(?:[^'\\]|\\.)*')|(?:"(?:[^"\\]|\\.)*")))?""",
    re.DOTALL,
)
Text = str | tuple[str, str]
# What Django and Unfold say on our pages, and have no German for.
BORROWED: tuple[str, ...] = (
    "All %(total_count)s selected",
    "Forgot your password?",
    "Go back",
    "No results found",
    "Select action",
    "Select all rows",
    "Select record",
    "This page yielded into no results. Create a new item or reset your filters.",
)
# What only machines, terminals and logs say: in English, for whoever reads along.
_MACHINES = re.compile(
    r"serializers\w*\.py$|_views\.py$|^marketplace/views\.py$|/management/|/ledger/|/admin\.py$|demo"
    r"|/(restores|backups|schema_guard|devdb|decision_requests|idempotency|authentication"
    r"|stripe_pace|stripe_events|asked_models|evidence|strict_requests|known_keys|rate_limits)"
    r"\.py$"
)


def found(app: str) -> dict[Text, list[str]]:
    """Each message of an app, and the files that hold it."""
    messages: dict[Text, list[str]] = {}
    for path in sorted((ROOT / app).rglob("*")):
        if "migrations" in path.parts or "locale" in path.parts:
            continue
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" and not _MACHINES.search(name):
            here = _of_python(path.read_text("utf-8"))
        elif path.suffix in {".html", ".txt"} and "templates" in path.parts:
            here = _of_template(path.read_text("utf-8"))
        else:
            continue
        for message in here:
            places = messages.setdefault(message, [])
            if name not in places:
                places.append(name)
    for message, name in (*_of_tables(app), *_of_others(app)):
        messages.setdefault(message, [name])
    return messages


def _of_others(app: str) -> Iterator[tuple[Text, str]]:
    """The titles of refusals and templates, as pages have them, and what is borrowed."""
    if app == "marketplace":
        from marketplace.errors import DomainError

        for error in (DomainError, *DomainError.__subclasses__()):
            yield error.title, "marketplace/errors.py"
        for message in BORROWED:
            yield message, "tests/translations.py"
    if app == "licensing":
        for path in sorted((ROOT / "licensing" / "terms_library").glob("*.json")):
            said = json.loads(path.read_text("utf-8"))
            for name in ("title", "description"):
                yield said[name], path.relative_to(ROOT).as_posix()


def _of_tables(app: str) -> Iterator[tuple[Text, str]]:
    """What tables that have pages, and their columns, are called there. Needs Django set up."""
    from django.contrib import admin

    from marketplace import model_names
    from marketplace.urls import studio

    shown = {*studio._registry, *admin.site._registry}
    for site in (studio, admin.site):
        for pages in site._registry.values():
            shown |= {inline.model for inline in pages.inlines}
    for model in sorted(shown, key=lambda one: one._meta.label):
        if model._meta.app_label == app:
            where = f"{model.__module__.replace('.', '/')}.py"
            yield from ((name, where) for name in model_names.spoken(model))


def _of_python(source: str) -> Iterator[Text]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        wanted = _CALLS.get(name)
        if wanted is None or len(node.args) < len(wanted):
            continue
        texts = [_constant(node.args[index]) for index in wanted]
        if all(texts):
            yield texts[0] if len(texts) == 1 else (texts[0], texts[1])


def _constant(node: ast.expr) -> str:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if is_text else ""  # type: ignore[attr-defined,no-any-return]


def _of_template(source: str) -> Iterator[Text]:
    for call, first, second in _IN_TEMPLATES.findall(templatize(source)):
        # A percent sign of a template is doubled in what Django looks up.
        one = ast.literal_eval(first)
        yield (one, ast.literal_eval(second)) if call == "ngettext" and second else one


def path_of(app: str, language: str, suffix: str = "po") -> Path:
    return ROOT / app / "locale" / language / "LC_MESSAGES" / f"django.{suffix}"


def catalog(app: str, language: str) -> Catalog:
    """What is translated of an app."""
    path = path_of(app, language)
    if not path.exists():
        return Catalog(locale=language, domain="django")
    with path.open("rb") as file:
        return read_po(file, locale=language, domain="django")


def compiled(kept: Catalog) -> bytes:
    """The bytes that Django reads: of the same texts the same, whenever and by whatever made."""
    header, *texts = list(kept)
    header.string = (
        "Content-Type: text/plain; charset=utf-8\n"
        f"Plural-Forms: nplurals={kept.num_plurals}; plural={kept.plural_expr};\n"
    )
    file = io.BytesIO()
    write_mo(file, _Texts([header, *texts]))  # type: ignore[arg-type]
    return file.getvalue()


class _Texts(list[Message]):
    """As much of a catalog as is compiled."""

    charset = "utf-8"


def missing(app: str, language: str) -> list[Text]:
    """What of an app is not in its catalog, or not translated there."""
    kept = catalog(app, language)
    return [message for message in found(app) if not _is_whole(kept, message)]


def _is_whole(kept: Catalog, message: Text) -> bool:
    entry = kept.get(message if isinstance(message, str) else message[0])
    if entry is None or entry.fuzzy:
        return False
    given = entry.string if isinstance(entry.string, tuple | list) else (entry.string,)
    return all(given) and (isinstance(message, str) or len(given) == kept.num_plurals)


def write(app: str, language: str, translated: dict[str, str | tuple[str, ...]]) -> None:
    """Write a catalog anew from the sources: what is there stays, `translated` goes before it."""
    old = catalog(app, language)
    new = Catalog(locale=language, domain="django", project="Licet", version="1", fuzzy=False)
    new.msgid_bugs_address = new.last_translator = new.language_team = ""
    new.header_comment = HEADER
    new.revision_date = new.creation_date = None  # type: ignore[assignment]
    for message, places in sorted(found(app).items(), key=str):
        key = message if isinstance(message, str) else message[0]
        kept = old.get(key)
        string = translated.get(key) or (kept.string if kept is not None else "")
        if not isinstance(message, str) and not isinstance(string, tuple | list):
            string = (string, string) if string else ("", "")
        flags = {"python-format"} if re.search(r"%\(\w+\)[sd]", str(message)) else set()
        new.add(message, string, locations=[(place, 0) for place in places[:3]], flags=flags)
    path = path_of(app, language)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    write_po(file, new, width=100, include_lineno=False, omit_header=False)
    # Without the time at which it was written: the same texts are the same bytes.
    lines = file.getvalue().decode().splitlines(keepends=True)
    path.write_text(
        "".join(line for line in lines if not line.startswith(_LEFT_OUT)),
        "utf-8",
    )
    path_of(app, language, "mo").write_bytes(compiled(catalog(app, language)))


HEADER = """\
# German of Licet. Formal: “Sie”.
# license: Lizenz · grant: Lizenz · licensor: Lizenzgeber · licensee: Lizenznehmer
# collection: Sammlung · snapshot: Stand · work: Werk · listing: Angebot im Markt · offer: Angebot
# terms: Bedingungen · clause: Klausel · agreement: Vertrag · receipt: Beleg · ledger: Register
# log: Protokoll · certificate: Urkunde · notice: Hinweis · opt-out: Widerspruch
# acknowledgement: Bestätigung · claim: Anspruch · dispute: Zahlungsanfechtung
# appeal: Beschwerde · trader: Unternehmer · legal hold: Aufbewahrung · owner: Rechteinhaber
# conditions: Bestimmungen · approve: zustimmen · clear: freigeben · credit note: Rechnungskorrektur
# live mode: Echtbetrieb · test mode: Testbetrieb · contributor: Urheber · transfer: Überweisung
# payout: Auszahlung · refund: Erstattung · fee: Gebühr · earnings: Erlöse
# quote: Kostenvoranschlag · attest: versichern · attestation: Rechteerklärung
# freeze: festhalten
# invoice: Rechnung · royalty: Tantieme · advance: Vorschuss · key: Schlüssel · sample: Probe
# upload: hochladen · root: Wurzel · second factor: zweiter Faktor · operator: Betreiber"""


_LEFT_OUT = (
    '"POT-Creation-Date',
    '"PO-Revision-Date',
    '"Generated-By',
    '"Report-Msgid',
    '"Last-Tr',
    '"Language-Team',
)


def main(arguments: list[str]) -> int:
    """List what is missing by file; with `--write`, bring the catalogs up to date first."""
    left = 0
    for app in APPS:
        for language in LANGUAGES:
            if "--write" in arguments:
                write(app, language, {})
            places = found(app)
            gaps = missing(app, language)
            left += len(gaps)
            print(f"{app} {language}: {len(places) - len(gaps)} of {len(places)} translated")
            for message in gaps if "--list" in arguments else []:
                print(f"  {places[message][0]}: {message!r}")
    return 1 if left else 0


if __name__ == "__main__":
    django.setup()
    sys.exit(main(sys.argv[1:]))
