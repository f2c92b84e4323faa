"""Certificates as PDFs: read back from their streams, and by readers that we did not write."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from licensing import certificate_pdf, certificate_qr, certificate_words, terms
from licensing.certificates import (
    Certificate,
    Covered,
    Document,
    Party,
    Proof,
    Record,
    Span,
    State,
    Step,
    Terming,
    TermsInWords,
)
from licensing.typed_terms import parse
from tests.licensing.pdf_text import Pdf

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
REF = "0123456789abcdef" * 2
TEXT = terms.render(parse(terms.EXAMPLE), name="Training", version=3)
EUROPE = "Łódź Ěščř Ωμέγα Ќирилица Ґанок Հայերեն ქართული Şişli Þórður ẞ Malta Ħ"


def certificate(**fields: Any) -> Certificate:
    period = Terming(
        number=1,
        kind="issued",
        terms=TermsInWords("Training", 3, fields.pop("text", TEXT), "1" * 64, "2" * 64),
        windows=(Span("access", AT, AT.replace(year=2027)), Span("use", AT, None)),
        scope={"uses": ["pretrain"], "territories": ["EU", "*"]},
        price="1,250.00 EUR",
    )
    made = Certificate(
        id="grt_01m8atqhh6fek9n8nn1csndmzj",
        grant_ref=REF,
        livemode=False,
        licensor=Party("Archive Ltd", "IE", "12345", "org_a"),
        licensee=Party("Lab Ltd", "US-DE", "", "org_b"),
        is_opened=True,
        documents=(Document(1, "3" * 64, "Lin", "Counsel", AT),),
        period=period,
        others=(),
        coverage=(Covered("Letters", 2, 3, "4" * 64, {"works": 3}, "5" * 64, AT),),
        record=Record("test", "licet.example/ledger/test", 7, "6" * 64, AT, 9, "7" * 64),
        state=State("active", None, None, Proof("active", AT, 4, "o", 8, 9, "6" * 64), None),
    )
    return dataclasses.replace(made, **fields)


def named(name: str) -> Certificate:
    return certificate(licensor=Party(name, "IE", "12345", "org_a"))


def test_the_pdf_says_what_the_page_says() -> None:
    made = certificate()
    text = Pdf(certificate_pdf.render(made)).text.replace(" ", "")

    said = [row for section in certificate_words.sections(made) for row in section.rows]
    assert len(said) > 20
    for row in said:
        assert row.label.replace(" ", "") in text
        assert row.text.replace(" ", "") in text
    for clause in made.period.terms.clauses:
        assert f"{clause.number}{clause.text}".replace(" ", "") in text
    stand = certificate_words.stand(made.state)
    for sentence in (stand.headline, *stand.sentences, "TEST LICENSE, no money moved"):
        assert sentence.replace(" ", "") in text


def test_the_same_facts_give_the_same_bytes() -> None:
    first = certificate_pdf.render(certificate())

    assert certificate_pdf.render(certificate()) == first
    assert certificate_pdf.render(named("Other Ltd")) != first


def test_it_names_its_title_author_and_language() -> None:
    data = certificate_pdf.render(certificate())

    assert b"/Title (License certificate grt_01m8atqhh6fek9n8nn1csndmzj)" in data
    assert b"/Author (Licet, http://127.0.0.1:8000)" in data
    assert b"/Lang (en)" in data
    assert b"/DisplayDocTitle true" in data


def test_all_text_is_in_fonts_that_are_embedded_and_no_name_is_lost() -> None:
    data = certificate_pdf.render(named(EUROPE))
    pdf = Pdf(data)

    assert data.count(b"/FontFile2") == 2
    assert b"Helvetica" not in data
    assert EUROPE.replace(" ", "") in pdf.text.replace(" ", "")
    assert {name.partition("+")[2] for name in pdf.fonts_shown()} == {
        "DejaVuSans",
        "DejaVuSans-Bold",
    }


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<b>A</b> & <para> Ltd", "<b>A</b>&<para>Ltd"),
        ("Lab \u202edtL", "Lab\\u202edtL"),
        ("Smile \U0001f600 Ltd", "Smile[U+1F600]Ltd"),
        ("ไทย Ltd", "[U+0E44][U+0E17][U+0E22]Ltd"),
        ("W" * 200, "W" * 200),
        ("שלום 12 (עולם) Ltd", "(םלוע)12םולש"),
    ],
    ids=["markup", "override", "emoji", "thai", "long", "hebrew"],
)
def test_hard_names_are_shown_whole(name: str, shown: str) -> None:
    assert shown in "".join(Pdf(certificate_pdf.render(named(name))).text.split())


@pytest.mark.parametrize(
    ("name", "font"),
    [
        ("日本の会社", "HeiseiKakuGo-W5"),
        ("한국 회사", "HYSMyeongJo-Medium"),
        ("中文公司", "STSong-Light"),
    ],
)
def test_asian_names_are_in_fonts_of_the_reader(name: str, font: str) -> None:
    data = certificate_pdf.render(named(name))

    assert f"/BaseFont /{font}".encode() in data


def test_terms_of_thirty_pages_flow_over_pages_to_their_last_word() -> None:
    clauses = [f"{n}.1 {'The licensee shall not do this. ' * 100}" for n in range(2, 62)]
    text = "\n".join(["Title", *clauses, "62 The end", "62.1 Finis."])
    pages = Pdf(certificate_pdf.render(certificate(text=text))).pages

    assert len(pages) >= 30
    assert "62.1 Finis." in pages[-1]
    assert f"Page {len(pages)} of {len(pages)}" in pages[-1]
    assert "Page 1 of" in pages[0]
    assert all("TEST LICENSE, no money moved" in page for page in pages)


def test_one_endless_word_of_terms_does_not_stop_it() -> None:
    pages = Pdf(certificate_pdf.render(certificate(text="1.1 " + "x" * 20_000))).pages

    assert "".join(pages).count("x") >= 5_000


def test_a_revoked_license_says_so_in_its_first_lines() -> None:
    step = Step("revoked", AT, "prospective", "licensor", "breach", "R" * 1000)
    state = State("revoked", step, None, None, AT)
    text = Pdf(certificate_pdf.render(certificate(state=state, livemode=True))).text

    assert "TEST LICENSE" not in text
    assert text.index("REVOKED with effect from") < text.index("Parties")
    assert "In force" not in text


def test_two_at_once_get_the_same_bytes() -> None:
    found: list[bytes] = []

    def render() -> None:
        found.append(certificate_pdf.render(named(EUROPE)))

    threads = [threading.Thread(target=render) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_the_code_is_square_and_quiet_around() -> None:
    url = certificate().verify_url
    width, squares = certificate_qr.width(url), certificate_qr.squares(url)

    quiet = certificate_qr.QUIET
    assert min(min(each) for each in squares) == quiet
    assert max(max(each) for each in squares) == width - quiet - 1
    assert certificate_qr.svg_path(url).count("M") == len(squares)


# --- by others --------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    if shutil.which(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed (Debian: poppler-utils, zbar-tools)")
    done = subprocess.run(arguments, capture_output=True, check=True, env=os.environ)
    return done.stdout.decode()


@pytest.mark.oracle
def test_poppler_reads_every_word(tmp_path: Path) -> None:
    made = named(EUROPE)
    path = tmp_path / "certificate.pdf"
    path.write_bytes(certificate_pdf.render(made))

    text = "".join(run("pdftotext", str(path), "-").split())
    for section in certificate_words.sections(made):
        for row in section.rows:
            assert "".join(row.text.split()) in text
    for clause in made.period.terms.clauses:
        assert "".join(clause.text.split()) in text


@pytest.mark.oracle
def test_poppler_finds_every_font_embedded_and_the_title(tmp_path: Path) -> None:
    path = tmp_path / "certificate.pdf"
    path.write_bytes(certificate_pdf.render(named(EUROPE)))

    fonts = [line.split() for line in run("pdffonts", str(path)).splitlines()[2:]]
    assert {line[0].partition("+")[2] for line in fonts} == {"DejaVuSans", "DejaVuSans-Bold"}
    assert {tuple(line[-5:-2]) for line in fonts} == {("yes", "yes", "yes")}
    info = run("pdfinfo", str(path))
    assert "License certificate grt_01m8atqhh6fek9n8nn1csndmzj" in info
    assert "A4" in info


@pytest.mark.oracle
def test_zbar_reads_the_code_off_a_rendered_page(tmp_path: Path) -> None:
    made = certificate()
    path = tmp_path / "certificate.pdf"
    path.write_bytes(certificate_pdf.render(made))

    run("pdftoppm", "-r", "150", "-gray", "-f", "1", "-l", "1", str(path), str(tmp_path / "page"))
    [page] = tmp_path.glob("page*.pgm")
    assert run("zbarimg", "--quiet", "--raw", str(page)).strip() == made.verify_url
