"""The code of the guide runs as it stands, on the market that `make run` starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from api_docs.refusals import all_kinds
from marketplace import api_versions, money
from marketplace.access import Scope
from payments import demo
from tests.api_docs.guide_code import CODE, NOT_RUN, Block, Reader, blocks, misses
from tests.market import ROOT, Run, run

__all__ = ["run"]
GUIDE = ROOT / "api_docs/guide"
PAGES = (
    "quickstart",
    "authentication",
    "errors",
    "idempotency",
    "pagination",
    "versions",
    "objects",
    "money",
    "webhooks",
    "verify",
    "operate",
)
STATUS_WITHIN_SECONDS = 90
BLOCKS = [block for page in PAGES for block in blocks(GUIDE / f"{page}.md")]


def made(market: Run, path: str, key: str) -> Any:
    return json.loads(market.get(path, key=key)[1])


def reader(market: Run, page: str, tmp_path: Path) -> Reader:
    """Somebody with the lab's key, in a directory of their own."""
    directory = tmp_path / page
    directory.mkdir()
    shutil.copy(ROOT / "licet-offline.pyz", directory)
    [key] = re.findall(r"Lab's key +(licet_test_\w+)", market.printed)
    words, environ = {}, {}
    if page == "operate":
        words = {"manage.py": f"{sys.executable} {ROOT / 'manage.py'}"}
        ports = {"BASE": market.port, "DELIVERY": market.port + 1, "SIMULATOR": market.port + 2}
        addresses = {f"LICET_{name}_URL": f"http://127.0.0.1:{n}" for name, n in ports.items()}
        environ = {**os.environ, **market.environ, **addresses}
    if page == "verify":
        grant = made(market, "/v1/grants", key)["data"][-1]["id"]
        wait_for_its_status(market, grant, key)
        receipt = market.get(f"/v1/grants/{grant}/receipt?wait=5", key=key)[1]
        (directory / "RECEIPT").write_bytes(receipt)
        words = {
            "https://MARKET": market.url,
            "/ledger/live": "/ledger/test",
            "verify RECEIPT": "verify RECEIPT --allow-test",
            "entries page-": "entries --allow-test page-",
            "grt_…": grant,
        }
    environ |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(directory),
        "MARKET": market.url,
        "KEY": key,
        "LICET_KEY": key,
    }
    return Reader(directory, environ, words)


def wait_for_its_status(market: Run, grant: str, key: str) -> None:
    """The log has the state of a new grant within a minute."""
    until = time.monotonic() + STATUS_WITHIN_SECONDS
    while True:
        try:
            status, _proof = market.get(f"/v1/grants/{grant}/status-proof", key=key)
        except urllib.error.HTTPError as refused:
            status = refused.code
        # 404: no commitment has it yet; 202: one has, and it is not signed yet.
        if status == 200:
            return
        assert time.monotonic() < until, status
        time.sleep(0.5)


def pay_what_is_shown(market: Run, said: str) -> None:
    """Do what a page asks its reader to do: open the printed address, and press Pay."""
    for url in re.findall(rf"(?m)^http://127\.0\.0\.1:{market.port + 2}/\S+$", said):
        demo.pay(url)


def worked_through(market: Run, page: str, tmp_path: Path) -> list[str]:
    """What of a page did not do what the page says."""
    somebody, wrong = reader(market, page, tmp_path), []
    for block in BLOCKS:
        if block.page != f"{page}.md" or not block.is_run:
            continue
        try:
            said = somebody.run(block)
            pay_what_is_shown(market, said)
        except Exception as error:
            # What comes after it builds on it.
            return [*wrong, f"{block}: {type(error).__name__}: {error}"]
        if missing := misses(block, said):
            wrong.append(f"{block}: {missing}")
    return wrong


@pytest.mark.oracle
def test_all_code_of_the_guide_does_what_the_guide_says(run: Run, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("not installed: curl")
    wrong = [each for page in PAGES for each in worked_through(run, page, tmp_path)]
    assert wrong == [], "\n\n".join(wrong)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_what_is_not_run_says_why(block: Block) -> None:
    if block.language in CODE and not block.is_run:
        assert block.note.startswith(NOT_RUN)
        assert len(block.note.removeprefix(NOT_RUN).split()) >= 4
        for name in re.findall(r"test_\w+\.py", block.note):
            assert list((ROOT / "tests").rglob(name)), name
    else:
        assert not block.note


def test_most_code_is_run() -> None:
    code = [block for block in BLOCKS if block.language in CODE]
    assert len([block for block in code if block.is_run]) >= 35
    assert {block.page for block in code if block.is_run} == {f"{page}.md" for page in PAGES}


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({"id": "org_…"}, {"id": "ofr_1"}),
        ({"id": "…"}, {}),
        ({"data": [{"a": 1}]}, {"data": []}),
        ({"more": True}, {"more": False}),
    ],
)
def test_an_answer_that_is_not_as_shown_is_noticed(shown: Any, said: Any) -> None:
    block = Block("x.md", 1, "bash", "", "", "json", json.dumps(shown))
    assert misses(block, json.dumps(said))


def test_a_block_that_fails_is_noticed(tmp_path: Path) -> None:
    somebody = Reader(tmp_path, {"PATH": os.environ["PATH"]})
    kept = Block("x.md", 1, "bash", "", "word=kept", "", "")
    somebody.run(kept)
    shown = Block("x.md", 2, "bash", "", 'echo "$word"', "text", "k…t\n")
    assert misses(shown, somebody.run(shown)) == ""
    for language, code in (("bash", "false"), ("python", "assert False"), ("sh", 'echo "$none"')):
        with pytest.raises(AssertionError):
            somebody.run(Block("x.md", 1, language, "", code, "", ""))
    refusal = json.dumps({"code": "not_found", "request_id": "req_1"})
    with pytest.raises(AssertionError, match="was refused"):
        somebody.run(Block("x.md", 1, "bash", "", f"echo '{refusal}'", "", ""))


def test_the_page_of_errors_lists_every_code() -> None:
    text = (GUIDE / "errors.md").read_text(encoding="utf-8")
    listed = re.findall(r"(?m)^\| (\d+) \| `(\w+)` \| (.+) \| (yes|) ?\|$", text)
    assert listed == [
        (
            str(kind.status),
            kind.code,
            " ".join((kind.__doc__ or "").split()),
            "yes" * kind.retryable,
        )
        for kind in all_kinds()
    ]


def test_the_page_of_versions_lists_each_with_its_end() -> None:
    text = (GUIDE / "versions.md").read_text(encoding="utf-8").partition("## Changelog")[2]
    rows = re.findall(r"(?m)^\| (\d{4}-\d\d-\d\d) \| (.+?) \| (\S*) ?\|$", text)
    assert rows == [
        (each.date, each.summary, "" if each.sunset is None else each.sunset.date().isoformat())
        for each in api_versions.known()
    ]


def test_the_page_of_keys_lists_every_scope() -> None:
    text = (GUIDE / "authentication.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (`\w+:.+?) \|", text)
    assert sorted(re.findall(r"`([\w:]+)`", " ".join(rows))) == sorted(Scope)


def test_the_page_of_money_counts_digits_as_the_code_does() -> None:
    text = (GUIDE / "money.md").read_text(encoding="utf-8")
    for digits in (0, 3):
        [row] = re.findall(rf"(?m)^\| {digits} \| ([A-Z, ]+) \|", text)
        of_code = [each.code for each in money.CURRENCIES.values() if each.exponent == digits]
        assert row.split(", ") == of_code
    assert f"{money.STRIPE_MAXIMUM_MINOR:,}" in text
