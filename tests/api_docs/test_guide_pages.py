"""The guide as pages of the market: each Markdown file at its address, its links leading on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from api_docs import guide_pages

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).parents[2] / "api_docs"
PAGES = guide_pages.pages()


def read(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, address
    return str(answer.content.decode())


def article(text: str) -> str:
    [found] = re.findall(r"<article>(.*?)</article>", text, re.DOTALL)
    return str(found)


def test_every_file_is_a_page_and_every_page_a_file() -> None:
    files = {file.relative_to(ROOT).as_posix() for file in ROOT.rglob("*.md")}
    assert set(PAGES) == files
    assert len({page.address for page in PAGES.values()}) == len(files)


@pytest.mark.parametrize("path", list(PAGES))
def test_a_page_s_links_lead_to_pages_and_their_headings(client: Client, path: str) -> None:
    text = article(read(client, PAGES[path].address))
    assert text.count("<h1") == 1
    for target in re.findall(r'<a href="([^"]*)"', text):
        if "://" in target or target.startswith("mailto:"):
            continue
        address, _hash, heading = target.partition("#")
        assert address.startswith("/docs/") or not address, target
        there = article(read(client, address)) if address else text
        assert not heading or f'id="{heading}"' in there, target
    for source in re.findall(r'<img src="([^"]*)"', text):
        assert finders.find(source.removeprefix("/static/")), source


@pytest.mark.parametrize("path", list(PAGES))
def test_a_page_shows_every_word_of_its_code(client: Client, path: str) -> None:
    text = article(read(client, PAGES[path].address))
    fences = re.findall(r"(?m)^```.*\n[\s\S]*?^```$", PAGES[path].text)
    assert text.count("<pre><code") >= len(fences)
    assert "```" not in text


def test_the_index_has_every_page_of_the_guide(client: Client) -> None:
    text = article(read(client, "/docs/guide/"))
    for page in PAGES.values():
        assert not page.is_guide or page.name == "README" or f'href="{page.address}"' in text, page


def test_a_file_of_the_source_is_named_and_not_linked(client: Client) -> None:
    assert "](../../payments/royalty_shares.py)" in PAGES["guide/royalties.md"].text
    assert "royalty_shares.py" not in re.findall(
        r'href="([^"]*)"', read(client, "/docs/guide/royalties/")
    )


@pytest.mark.parametrize(
    "address",
    ["/docs/guide/nothing/", "/docs/more/nothing/", "/docs/more/../views/", "/docs/more/views/"],
)
def test_nothing_else_is_served(client: Client, address: str) -> None:
    assert client.get(address).status_code == 404
