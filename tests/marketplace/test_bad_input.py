"""What bad input gets in the workspace: each kind its own answer, and nothing that it changes."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from licensing.models import Offer, Terms
from marketplace import collections, csv_cells, http, import_pages, organizations, sent_forms
from marketplace.access import system
from marketplace.imports import queue
from marketplace.models import (
    Attestation,
    Audit,
    Collection,
    IdempotencyKey,
    ImportJob,
    Organization,
    Upload,
)
from tests.make import TYPED, make_offer
from tests.marketplace.test_import_preview import digest
from tests.payments.test_money_verbs import sources
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ROOT = Path(csv_cells.__file__).parents[1]
COLLECTIONS = "/studio/marketplace/collection/"
ClientFor = Callable[..., ApiClient]

# Each kind, and the tests of its answer.
ANSWERS: dict[str, list[str]] = {
    "HTML and SVG in titles": [
        "../security/test_titles.py::test_markup_in_a_title_is_text_on_every_page",
        "../marketplace/test_pages.py::test_what_tenants_wrote_is_escaped_wherever_it_stands",
        "../marketplace/test_charts.py::test_names_are_text_whatever_they_hold",
        "../marketplace/test_identity_pages.py::test_markup_in_a_name_is_shown_and_never_run",
        "../licensing/test_certificates.py::test_names_and_reasons_are_text_on_the_page",
    ],
    "HTML and SVG in files": [
        "../marketplace/test_browser_upload.py::test_files_become_hosted_works_whatever_they_are",
        "../marketplace/test_excerpts.py::test_svg_and_other_files_have_no_excerpt",
        "../licensing/test_delivery.py::test_a_work_leaves_as_bytes_that_no_browser_runs",
    ],
    "formulas in exported CSV": [
        "../marketplace/test_bad_input.py::test_only_one_module_writes_csv",
        "../marketplace/test_bad_input.py::test_a_cell_is_no_formula_and_comes_back_as_it_was",
        "../marketplace/test_bad_input.py::test_a_corrected_file_gives_no_formula_back",
        "../marketplace/test_panels.py::test_a_formula_is_text_in_a_file",
    ],
    "a 10 GB upload": [
        "../marketplace/test_bad_input.py::test_a_form_of_10_gb_is_refused_unread",
        "../marketplace/test_bad_input.py::test_the_api_refuses_what_is_too_large_with_its_limit",
        "../marketplace/test_browser_upload.py::"
        "test_a_file_that_is_too_large_is_refused_before_its_first_byte",
    ],
    "an invitation expired or reused": [
        "../marketplace/test_invitations.py::test_a_link_works_once",
        "../marketplace/test_invitations.py::test_a_link_ends_after_its_time",
        "../marketplace/test_invitations.py::test_a_link_that_was_called_back_lets_nobody_in",
    ],
    "a form replayed": [
        "../security/test_studio.py::test_a_form_that_is_sent_twice_says_so_and_does_nothing_twice",
        "../marketplace/test_bad_input.py::test_a_form_sent_again_leads_to_what_it_made",
        "../marketplace/test_bad_input.py::test_a_verb_sent_again_says_so",
        "../marketplace/test_bad_input.py::test_an_import_asked_for_again_is_one",
    ],
    "two editors on one listing": [
        "../marketplace/test_bad_input.py::test_the_second_of_two_editors_of_a_text_is_told",
        "../marketplace/test_bad_input.py::test_who_publishes_second_is_told",
        "../marketplace/test_identity_pages.py::"
        "test_the_second_of_two_editors_is_told_and_nothing_is_lost",
    ],
    "a payout account that Stripe rejects": [
        "test_payout_pages.py::test_an_account_that_stripe_rejects_says_so_with_a_way_out",
    ],
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_each_kind_of_bad_input_has_a_test_of_its_answer(kind: str) -> None:
    for named in ANSWERS[kind]:
        file, _sep, name = named.partition("::")
        assert re.search(r"assert|pytest\.raises", sources(file)[name]), named


@pytest.fixture(autouse=True)
def folders(settings: Any, tmp_path: Path) -> None:
    settings.STORAGE_DIR = tmp_path / "works"
    settings.UPLOAD_DIR = tmp_path / "uploads"


@pytest.fixture
def ada(archive: Organization) -> Client:
    user = organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="owner"
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def into(archive: Organization) -> Collection:
    return collections.create(caller_for(archive), name="Letters", description="Of 1890")


def filled(client: Client, url: str, **said: Any) -> dict[str, Any]:
    """What a page's form would send: its hidden fields, and what is said."""
    page = client.get(url).content.decode()
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
    return {**dict(hidden), **said}


def count(model: Any) -> int:
    with system("count rows in a test"):
        return int(model._default_manager.count())


def told(answer: Any) -> str:
    return str(answer.content.decode())


# --- formulas ---------------------------------------------------------------------------------


def test_only_one_module_writes_csv() -> None:
    """What a new exporter writes is escaped, because it can write no other way."""
    writers = []
    for app in ("marketplace", "licensing", "payments", "api_docs"):
        for path in sorted((ROOT / app).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in {"writer", "DictWriter"}:
                    is_csv = isinstance(node.value, ast.Name) and node.value.id == "csv"
                    writers += [path.relative_to(ROOT).as_posix()] if is_csv else []
    assert writers == ["marketplace/csv_cells.py"]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "\uff1d1", "'="]
)
def test_a_cell_is_no_formula_and_comes_back_as_it_was(text: str) -> None:
    out = io.StringIO()
    csv_cells.Writer(out).row([text, 'plain, "so"', -5, csv_cells.Number("-5.00"), None])
    [row] = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert row == [f"'{text}", 'plain, "so"', "-5", "-5.00", ""]
    assert csv_cells.unescaped(row[0]) == text


def test_a_corrected_file_gives_no_formula_back(ada: Client, into: Collection) -> None:
    """Also where somebody wrote one into it by hand."""
    table = (
        "licet_line,licet_field,licet_code,licet_reason,external_id,sha256,length,title\n"
        f"2,sha256,no_digest,,a,,1,=1+1\n3,title,,,b,{digest('b')},1,'=2+2\n4,,,,c,,1,'=3+3\n"
    )
    url = f"/studio/files/collections/{into.pk}/files/"
    file = SimpleUploadedFile("corrected.csv", table.encode())
    asked = ada.post(url, {"file": file})["Location"]
    page = ada.get(asked).content.decode()
    chosen = {
        name: found[1] if (found := re.search(r'value="([^"]*)" selected', options)) else ""
        for name, options in re.findall(r'<select[^>]*name="([^"]+)">(.*?)</select>', page, re.S)
    }
    progress = ada.post(asked, {**chosen, "run": "1"})["Location"]
    assert queue.carry_out_due() == 1

    text = b"".join(ada.get(progress.replace("progress/", "rejected-rows.csv"))).decode()

    _header, first, second = csv.reader(io.StringIO(text))
    assert (first[4], first[7], second[4], second[7]) == ("a", "'=1+1", "c", "'=3+3")


# --- what is too large ------------------------------------------------------------------------


class Unread:
    """A body that nobody may touch."""

    def read(self, *_size: int) -> bytes:
        raise AssertionError("A byte of it was read.")

    readline = read


def large(kind: str) -> dict[str, Any]:
    """10 GB of a kind, announced, of which nobody may read a byte."""
    return {
        "CONTENT_LENGTH": str(10 * 10**9),
        "CONTENT_TYPE": f"{kind}; boundary=x",
        "wsgi.input": Unread(),
    }


@pytest.mark.parametrize("url", ["/login/", "/studio/identity/", f"{COLLECTIONS}add/"])
def test_a_form_of_10_gb_is_refused_unread(ada: Client, url: str) -> None:
    answer = ada.generic("POST", url, HTTP_ACCEPT="text/html", **large("multipart/form-data"))
    assert answer.status_code == 413
    # The limit, and the ways on.
    assert "10 MiB" in told(answer)
    assert "in pieces" in told(answer)
    assert "API" in told(answer)
    assert http.FORM_LENGTH_MAX > import_pages.PLAIN_LENGTH_MAX


def test_the_api_refuses_what_is_too_large_with_its_limit(
    archive: Organization, client_for: ClientFor, settings: Any
) -> None:
    client = client_for(archive)
    refused = client.post("/v1/uploads", {"length": 100 * 10**9})
    assert (refused.status_code, refused.json()["param"]) == (422, "length")
    assert "68,719,476,736 bytes" in refused.json()["detail"]
    assert "bucket" in refused.json()["detail"]
    assert count(Upload) == 0
    # 10 GB are none too large for the API; for a piece of what was announced smaller, they are.
    url = client.post("/v1/uploads", {"length": 10 * 10**9}).json()["url"]
    small = client.post("/v1/uploads", {"length": 5}).json()["url"]
    assert url != small
    key = {"Authorization": f"Bearer {client.secret}", "Upload-Offset": "0"}
    where = small[small.index("/v1/") :]
    piece = large("application/offset+octet-stream")
    answer = Client().generic("PATCH", where, headers=key, **piece)
    assert (answer.status_code, answer.json()["detail"]) == (
        422, "The upload was announced with 5 bytes.",
    )  # fmt: skip


# --- a form that is sent again ----------------------------------------------------------------


def test_a_form_sent_again_leads_to_what_it_made(ada: Client, archive: Organization) -> None:
    form = filled(ada, f"{COLLECTIONS}add/", name="Letters")
    first = ada.post(f"{COLLECTIONS}add/", form)
    acts = count(Audit)

    again = ada.post(f"{COLLECTIONS}add/", form)

    assert first.status_code == 302
    row = Collection.objects.get(name="Letters")
    assert again["Location"] == f"{COLLECTIONS}{row.pk}/change/"
    page = ada.get(again["Location"])
    assert "You sent this form before. This is what it made." in told(page)
    assert count(Audit) == acts
    # With something else in it, it is another form; so is the same, shown anew.
    ada.post(f"{COLLECTIONS}add/", {**form, "name": "Other"})
    ada.post(f"{COLLECTIONS}add/", filled(ada, f"{COLLECTIONS}add/", name="Letters"))
    assert sorted(Collection.objects.values_list("name", flat=True)) == [
        "Letters", "Letters", "Other",
    ]  # fmt: skip


def test_a_refused_form_may_be_sent_again(ada: Client, archive: Organization) -> None:
    form = filled(ada, f"{COLLECTIONS}add/", name=" ")
    assert [ada.post(f"{COLLECTIONS}add/", form).status_code for _time in range(2)] == [200, 200]
    assert count(IdempotencyKey) == 0
    assert count(Collection) == 0


def test_a_verb_sent_again_says_so(ada: Client, into: Collection) -> None:
    url = f"{COLLECTIONS}{into.pk}/attest/"
    form = filled(
        ada, url, basis="own", statement="Ours.", person_name="A", person_title="B",
        authority="on",
    )  # fmt: skip
    ada.post(url, form)

    again = ada.post(url, form, follow=True)

    assert "You sent this form before: it was done then, and not again now." in told(again)
    assert count(Attestation) == 1
    # Who attests anew, does.
    ada.post(url, {**form, **filled(ada, url)})
    assert count(Attestation) == 2


def test_a_verb_that_was_refused_is_tried_again_at_once(ada: Client, into: Collection) -> None:
    url = f"{COLLECTIONS}{into.pk}/attest/"
    form = filled(ada, url, basis="own", statement=" ", person_name="A", person_title="B")
    for _time in range(2):
        assert "This was not done. See below why." in told(ada.post(url, form))
    assert count(Attestation) == 0


def test_a_form_that_is_under_way_is_waited_for(
    ada: Client, into: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{COLLECTIONS}{into.pk}/attest/"
    form = filled(
        ada, url, basis="own", statement="Ours.", person_name="A", person_title="B",
        authority="on",
    )  # fmt: skip
    # The first died after it had done it, and before it had said so.
    with monkeypatch.context() as patched:
        patched.setattr(sent_forms.Sending, "done", lambda self, url: None)
        ada.post(url, form)

    again = ada.post(url, form, follow=True)

    assert "This form is being worked on. Look again in a moment." in told(again)
    assert count(Attestation) == 1


def test_an_import_asked_for_again_is_one(ada: Client, into: Collection) -> None:
    table = f"external_id,sha256,length\na,{digest('a')},1\n".encode()
    new = f"/studio/files/collections/{into.pk}/files/"
    url = ada.post(new, {"file": SimpleUploadedFile("a.csv", table)})["Location"]
    chosen = {"column.0": "external_id", "column.1": "sha256", "column.2": "length"}
    form = filled(ada, url, **chosen, run="1")
    first = ada.post(url, form)

    again = ada.post(url, form)

    assert first["Location"] == again["Location"]
    assert "You sent this form before. This is its import." in told(ada.get(again["Location"]))
    assert count(ImportJob) == 1


# --- two editors ------------------------------------------------------------------------------


def test_the_second_of_two_editors_of_a_text_is_told(ada: Client, into: Collection) -> None:
    url = f"{COLLECTIONS}{into.pk}/describe/"
    texts = {"name": "Letters", "description": "Of 1890", "notice": "", "languages": ""}
    first, second = filled(ada, url, **texts), filled(ada, url, **texts)
    saved = ada.post(url, {**first, "description": "Of 1890\r\nand 1891", "languages": "de, en"})
    assert saved.status_code == 302

    refused = ada.post(url, {**second, "name": "Briefe"})

    assert "Somebody else changed this while you wrote" in told(refused)
    assert "and 1891" in told(refused)
    assert 'value="Briefe"' in told(refused)
    into.refresh_from_db()
    assert (into.name, into.description, into.languages) == (
        "Letters", "Of 1890\nand 1891", ["de", "en"],
    )  # fmt: skip
    # Having read that, they put theirs in its place; and once more changes nothing.
    anew = refused.context["form"]
    sent = {name: anew[name].value() or "" for name in anew.fields}
    assert "Saved." in told(ada.post(url, sent, follow=True))
    assert "It stands so already" in told(ada.post(url, sent, follow=True))
    into.refresh_from_db()
    assert into.name == "Briefe"
    with system("count acts in a test"):
        assert Audit.objects.filter(action="collection.described").count() == 2


def test_a_language_that_is_none_is_refused_at_its_field(ada: Client, into: Collection) -> None:
    url = f"{COLLECTIONS}{into.pk}/describe/"
    form = filled(ada, url, name="Letters", description="", notice="", languages="Klingon!")
    answer = ada.post(url, form)
    assert answer.context["form"].errors.keys() == {"languages"}
    into.refresh_from_db()
    assert into.description == "Of 1890"


def test_who_publishes_second_is_told(ada: Client, archive: Organization) -> None:
    offer = make_offer(archive, is_published=False)
    draft = f"/studio/licensing/offer/{offer.pk}"
    colleague = filled(ada, f"{draft}/publish/")
    assert "The offer is" in told(ada.post(f"{draft}/publish/", follow=True))
    assert "It stands so already" in told(ada.post(f"{draft}/publish/", colleague, follow=True))
    assert "is withdrawn" in told(ada.post(f"{draft}/withdraw/", follow=True))
    assert "It stands so already" in told(ada.post(f"{draft}/withdraw/", follow=True))
    assert Offer.objects.get(pk=offer.pk).state == "withdrawn"
    # Published terms never change: the second is told what to do instead.
    form = filled(
        ada, "/studio/licensing/terms/add/?written=1", name="New", typed=json.dumps(TYPED)
    )
    ada.post("/studio/licensing/terms/add/?written=1", form)
    url = f"/studio/licensing/terms/{Terms.objects.get(name='New').pk}/publish/"
    ada.post(url)
    entry = Terms.objects.get(name="New").entry_id
    assert "A new draft under the same name is the next" in told(ada.post(url, follow=True))
    assert Terms.objects.get(name="New").entry_id == entry
