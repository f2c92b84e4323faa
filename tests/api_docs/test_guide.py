"""The guide names what there is: addresses, commands, settings, files, and buttons as they read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import Resolver404, resolve

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "api_docs"
PAGES = sorted([*DOCS.glob("guide/*.md"), ROOT / "README.md", *DOCS.glob("*.md")])
GUIDE = sorted([*DOCS.glob("guide/*.md"), ROOT / "README.md"])
OPERATIONS = json.loads((DOCS / "openapi.json").read_text(encoding="utf-8"))["paths"]
# Of things that are named because they are gone, or are somebody else's.
GONE = {"LICET_OIDC_SECRET"}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def shape(path: str) -> str:
    """An address with a star for each of its ids."""
    path = path.partition("?")[0].partition("#")[0].rstrip("/.,;:")
    path = re.sub(r"\{[^}]*\}|<[^>]*>|\$[A-Z]+|\b[a-z]{3}_…", "*", path)
    return re.sub(r"\*+", "*", path)


def addresses(page: Path) -> Iterator[tuple[str, str]]:
    """Method ("" where none is said) and address of each mention of the API."""
    text = page.read_text(encoding="utf-8")
    for method, path in re.findall(
        r"(?:\b(GET|POST|PATCH|HEAD|DELETE) )?(/v1/[^\s`\"')|,]+)", text
    ):
        if "…/" not in path and "[" not in path and not path.endswith(("/…", "/v1/")):
            yield method, shape(path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_address_of_the_api_is_in_its_description(page: Path) -> None:
    known = {shape(path): {method.upper() for method in each} for path, each in OPERATIONS.items()}
    wrong = []
    for method, path in addresses(page):
        methods = known.get(path)
        if methods is None or (method and method not in {*methods, "HEAD", "PATCH"}):
            wrong.append(f"{method} {path}")
    assert wrong == []


def test_the_guide_is_read_by_these_tests() -> None:
    """What they look for is there: a pattern that finds nothing would prove nothing."""
    said = "\n".join(page.read_text(encoding="utf-8") for page in GUIDE)
    assert len({one for page in GUIDE for one in addresses(page)}) >= 60
    assert len(labels(said)) >= 10
    assert ("POST", "/v1/no-such") in set(addresses(ROOT / "tests/api_docs/test_guide.py"))


# `POST /v1/no-such` is an address that there is not.


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_command_and_setting_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = set(re.findall(r"manage\.py ([a-z_]+)", text))
    assert commands - set(get_commands()) == set()
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (
            *(ROOT / "marketplace").glob("*.py"),
            *(ROOT / "payments").rglob("*.py"),
            *(ROOT / "licensing").rglob("*.py"),
            *(ROOT / "tests").rglob("*.py"),
            ROOT / "Makefile",
        )
    )
    settings = set(re.findall(r"\bLICET_[A-Z_]+[A-Z]\b", text))
    assert {one for one in settings - GONE if one not in code} == set()
    targets = set(re.findall(r"`make ([a-z-]+)", text))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {one for one in targets if not re.search(rf"(?m)^{one}:", makefile)} == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _sep, heading = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        is_lost = heading and found.suffix == ".md" and heading not in anchors(found)
        if not found.exists() or is_lost:
            wrong.append(target)
    assert wrong == []


def anchors(page: Path) -> set[str]:
    """What a heading is called in a link, as GitHub makes it."""
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    plain = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
    return {*plain}


@pytest.mark.parametrize("page", GUIDE, ids=name)
def test_each_page_that_it_names_is_at_its_address(page: Path) -> None:
    wrong: list[str] = []
    pattern = r"`(/(?:studio|admin|account|login|verify|certificates|report|sign-up|docs)/[^`\s]*)`"
    for path in re.findall(pattern, page.read_text(encoding="utf-8")):
        plain = re.sub(r"\{[^}]*\}|REFERENCE|[a-z]{3}_…|…", "x", path.partition("?")[0])
        if not any(is_there(one) for one in (plain, f"{plain}/", plain.rstrip("/"))):
            wrong.append(path)
    assert wrong == []


def is_there(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


def words() -> str:
    """All that pages may say: labels of the code and of the templates."""
    parts = []
    for app in ("marketplace", "licensing", "payments"):
        for path in (*(ROOT / app).rglob("*.py"), *(ROOT / app).rglob("*.html")):
            parts.append(path.read_text(encoding="utf-8"))
    return re.sub(r'"\s*\n\s*"', "", "\n".join(parts)).lower()


def labels(text: str) -> set[str]:
    """What stands in italics and begins with a capital: buttons and pages."""
    return set(re.findall(r"(?<![*\w])\*([A-Z][^*\n]{2,60})\*(?!\*)", text))


@pytest.mark.parametrize("page", GUIDE, ids=name)
def test_each_button_and_page_that_it_names_is_called_so(page: Path) -> None:
    known = words()
    said = labels(page.read_text(encoding="utf-8"))
    wrong = {one for one in said if one.lower() not in known}
    assert wrong == set()
