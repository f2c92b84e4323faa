"""Every page says only what is translated, and data; and nothing that is said so is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import translation

from marketplace import operators
from tests import pseudo
from tests.browser.test_accessibility import admin_pages, pages_of
from tests.security.studio_world import (
    ADD_FORMS,
    PAGE_FORMS,
    PASSWORD,
    VERB_FORMS,
    Tenant,
    collect,
    others,
    probes,
    send,
    settle,
)

# Probes that differ from others in whose ids they send, and not in what they are shown.
_ALIKE = {
    *("autocomplete", "field", "filter", "forms", "list", "lookup", "search", "shortcut", "switch"),
    *("upload", "verb"),
}
PUBLIC = (
    *("/", "/listings?q=none", "/report/", "/verify/", "/login/", "/login/password/", "/nowhere"),
    *("/sign-up/", "/opt-out/none", "/invitations/none", "/moderation/none", "/report/none"),
)
ACCOUNT = (
    "/account/",
    "/account/app/",
    "/account/codes/",
    "/account/passkeys/add/",
    "/account/password/",
    "/account/preferences/",
    "/account/second-factor/",
)
# What stands on pages and is nobody's sentence.
_DATA = re.compile(
    "|".join(
        (
            r"(.* )?[(“]?[a-z]{3}_[0-9a-z]{26}\b.*",  # an id, and a row that is called by it
            r"(org|col|off|usr|ctr|ord)_…",
            r"[0-9a-f]{8,}|…?[0-9A-Za-z]{4}",  # a digest, and the end of a secret
            r"[·–: ]*-?[\d,.]+\s([A-Z]{3}|[€$])",
            r"[A-Z]{3}|EU|US|IE|[a-z]{2}|en-1",
            r"([A-Z]{3}|[a-z]{2}|.+ \([A-Z]{2}\)) \(\d+\)",  # of a filter, with its count
            r"[^()]+ \([A-Z]{2}\)",  # a country, by CLDR
            r"(Buyer|Seller) \((Buyer|Seller) Ltd, IE\)|New(,| #).*",  # rows that tenants named
            r"[a-z_]+ USD( \|)?|payment|royalties|royalty_[a-z_]+",  # codes of the journal
            r"in_ord_\w+|[f-]{36}|· (ab)+",
            r"The payment provider did not answer\. .*",  # kept in English, as all that is kept
            r"\d+ bp, version \d+( \|)?|-?\d+ [A-Z]{3} \|",  # rows of money, as operators see them
            r"([a-z_.]+, )?[\d.]+, \d\d:\d\d UTC( · 1\.234,50 €| ,| – Licet)?|\[\d{4}-.*\)",
            r"[a-z_]+[.:][a-z_.]+",  # what was done (`offer.made`); what a key may (`works:read`)
            r"test [a-z.]+ #\d+( \|)?",
            r"digest_invalid|own|open_license|pretrain|raw|records|repeated|system|test",
            r"\d+ characters",  # what an import found, in English as all that it records
            r"records( \(finished\) \|| – Licet)",
            r"(.*\W)?Canary.*",  # what the tenants wrote
            r"(Ada|Buyer|Seller|Lin|Letters|Training|Olive|Olga|New|N|L)( (Ltd|v\d))?( \|)?",
            r"Counsel|Rita Sign|It is ours\.|Ours\.|1 Main Street, \w+|Work \d+|work-\d+|none –",
            r"[\w.]+@example\.org( \|| – Licet)?",
            r"[\w.+-]+/[\w.+-]+|https?://\S+",
            r"(– )?Licet|SHA-256|CSV|PNG|PDF|JSON|Deutsch|English",
            r".+: .*1.234.50.*",  # the formats to choose from, each in its own
            r"Model: .*|TEST LICENSE.*|\{.*\}",  # words of contracts, and what they are made of
        )
    ),
    re.DOTALL,
)
# What is the same in German, or a form that Django fills in, or no word at all.
_SAME = {
    *(":", ":?.!", ", ", "%s GB", "%(first)s %(and)s %(last)s", "API", "Bytes", "Code", "Date"),
    *("Gigabyte", "ISBN", "ISCC", "ISRC", "Japan", "Licet", "Manager", "Megapixel", "Minute"),
    *("Name", "Passkey", "Passkey %(number)s", "Start", "Status", "Stripe", "Studio", "Test"),
    *("Text", "URL", "Video", "True", "False", "April", "August", "September", "November"),
    *("Nov.", "Dec.", "Sept.", "detail", "format", "name", "status", "text", "code"),
    "Webhooks",
}


def shown(client: Client, paths: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for path in paths:
        yield path, client.get(path, headers={"Accept": "text/html"})


def in_language(client: Client) -> Client:
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = pseudo.LANGUAGE
    return client


def answers(me: Tenant, other: Tenant, operator: Client) -> Iterator[tuple[str, Any]]:
    """What a visitor, a member and an operator are answered with, whatever they try."""
    yield from shown(in_language(Client(raise_request_exception=False)), PUBLIC)
    member = in_language(me.client())
    yield from shown(member, (*PUBLIC, *ACCOUNT, *pages_of(me)))
    # Forms that nobody filled in.
    for url in (f"/studio/{label.lower().replace('.', '/')}/add/" for label in ADD_FORMS):
        yield f"empty {url}", member.post(url, {})
    for url in PAGE_FORMS:
        yield f"empty {url}", member.post(url, {})
    for label, verb in VERB_FORMS:
        url = f"/studio/{label.lower().replace('.', '/')}/{me.ids[label][0]}/{verb}/"
        yield f"empty {url}", member.post(url, {})
    for probe in probes(me, other):
        if probe.kind not in _ALIKE and probe.status != 404 and not probe.url.startswith("/v1/"):
            yield str(probe), send(member, probe)
    yield from shown(operator, admin_pages())


def is_page(answer: Any) -> bool:
    return not answer.streaming and answer.get("Content-Type", "").startswith("text/html")


def is_german(texts: tuple[str, ...]) -> bool:
    with translation.override(pseudo.LANGUAGE):
        if len(texts) == 2:
            return any(translation.ngettext(*texts, number) not in texts for number in (1, 2))
        return texts[0] in _SAME or translation.gettext(texts[0]) != texts[0]


@pytest.mark.oracle
@pytest.mark.django_db
def test_no_page_says_what_is_not_translated_and_nothing_of_it_is_kept(
    ledger_keys: object, tmp_path: Path
) -> None:
    said: dict[str, str] = {}
    pages = 0
    operator = in_language(Client(raise_request_exception=False))
    with override_settings(UPLOAD_DIR=tmp_path):
        beside = others()
        me, other = settle("Canaryone", beside), settle("Canarytwo", beside)
        collect(me)
        collect(other)
        operator.force_login(
            operators.appoint(email="o@example.org", name="Olive", password=PASSWORD)
        )
        with pseudo.spoken() as asked:
            for where, answer in answers(me, other, operator):
                assert answer.status_code < 500, where
                if is_page(answer):
                    pages += 1
                    for text in pseudo.unmarked(answer.content.decode()):
                        said.setdefault(text, where)
    unmarked = {text: where for text, where in said.items() if not _DATA.fullmatch(text)}
    untranslated = sorted(texts for texts in asked if not is_german(texts))
    print(f"{pages} pages, {len(asked)} texts, {len(unmarked)} unmarked, {len(untranslated)} not")
    assert unmarked == {}, "\n".join(sorted(unmarked))
    assert untranslated == []
    assert pseudo.stored() == []
    assert pages >= 400
    assert len(asked) >= 1_000


def test_the_reader_finds_what_is_not_marked() -> None:
    with pseudo.spoken() as asked, translation.override(pseudo.LANGUAGE):
        text, label = translation.gettext("Save it"), translation.ngettext("one", "many", 2)
        page = (
            f'<title>{text} – Licet</title><p lang="en">Contract</p><p>{text} now<br>{label}</p>'
            f'<img alt="A chart"><code>make demo</code><input type="submit" value="Go on">'
            f'<p title="{text}">{text}: <b>loud</b> <span aria-hidden="true">home</span></p>'
            f"<p>{pseudo.OPENS}In <code>it</code> all{pseudo.CLOSES}</p>"
        )
        with translation.override("en"):
            assert translation.gettext("Save it") == "Save it"
    assert pseudo.unmarked(page) == ["– Licet", "now", "A chart", "Go on", ": loud"]
    assert asked == {("Save it",), ("one", "many")}
