"""The lock file: it pins what pyproject.toml asks for, by hash, and names no index."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BASE_DIR = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)(?: ; .+)? \\$")


def locked() -> dict[str, str]:
    lines = (BASE_DIR / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [match for line in lines if (match := PIN.match(line))]
    return {canonicalize_name(pin.group(1)): pin.group(2) for pin in pins}


def test_every_dependency_is_locked_within_its_range() -> None:
    project = tomllib.loads((BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    pins = locked()

    astray = [
        text
        for text in wanted
        if not (need := Requirement(text)).specifier.contains(
            pins.get(canonicalize_name(need.name), "0")
        )
    ]

    assert astray == []


def test_every_locked_package_has_a_hash_and_no_line_names_an_address() -> None:
    text = (BASE_DIR / "requirements.lock").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())

    assert len(blocks) == len(locked())
    assert [block for block in blocks if "--hash=sha256:" not in block] == []
    assert re.findall(r"://|--\w*index\w*|--find-links", text) == []
