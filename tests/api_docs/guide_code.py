"""The code of the guide's pages: found, run as a reader would, and held against what is shown."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

CODE = frozenset({"bash", "python", "sh"})
# Behind the language: a reason why nobody runs a block.
NOT_RUN = "not run: "
_FENCE = re.compile(
    r"(?m)^```(?P<language>\w*) ?(?P<note>.*)\n(?P<code>[\s\S]*?)^```$"
    # What a block prints stands right behind it.
    r"(?:\n\n```(?P<kind>json|text)\n(?P<shown>[\s\S]*?)^```$)?"
)
ANYTHING = "…"


@dataclass(frozen=True)
class Block:
    """A block of code, and what its page says that it prints."""

    page: str
    line: int
    language: str
    note: str
    code: str
    kind: str
    shown: str

    @property
    def is_run(self) -> bool:
        return self.language in CODE and not self.note

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    """Every block of a page, in its order."""
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        parts = found.groupdict(default="")
        yield Block(
            page=path.name,
            line=line,
            language=parts["language"],
            note=parts["note"],
            code=parts["code"],
            kind=parts["kind"],
            shown=parts["shown"],
        )


@dataclass
class Reader:
    """Who works through one page: a shell and a Python that know what came before."""

    directory: Path
    environ: dict[str, str]
    # What a reader puts in: words of the page, and what stands for them here.
    words: dict[str, str] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)

    def run(self, block: Block) -> str:
        """What the block printed. Raises AssertionError where it failed."""
        code = block.code
        for word, meant in self.words.items():
            code = code.replace(word, meant)
        said = self._python(code) if block.language == "python" else self._shell(code)
        problem = as_json(said)
        is_refusal = isinstance(problem, dict) and {"code", "request_id"} <= problem.keys()
        assert block.shown or not is_refusal, f"{block} was refused: {said}"
        return said

    def _shell(self, code: str) -> str:
        state = self.directory / ".shell"
        script = f"set -aeuo pipefail\n{code}\nexport -p > '{state}'\n"
        done = subprocess.run(
            ["bash", "-c", f"{f'. {state}' if state.exists() else ''}\n{script}"],
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def _python(self, code: str) -> str:
        said = io.StringIO()
        with (
            mock.patch.dict("os.environ", self.environ),
            contextlib.chdir(self.directory),
            contextlib.redirect_stdout(said),
        ):
            exec(compile(code, "<guide>", "exec"), self.names)
        return said.getvalue()


def misses(block: Block, said: str) -> str:
    """What of the shown output was not printed; empty where all of it was."""
    if block.kind == "json":
        return _missing(json.loads(block.shown), as_json(said), "")
    if block.kind == "text" and not _matches(block.shown.rstrip(), said.rstrip()):
        return f"shown: {block.shown!r}; printed: {said!r}"
    return ""


def as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _missing(shown: Any, said: Any, at: str) -> str:
    """Members may be left out of what is shown; what is shown is there."""
    if isinstance(shown, dict) and isinstance(said, dict):
        parts: Iterator[tuple[Any, Any]] = iter(shown.items())
        get: Callable[[Any], Any] = lambda name: said.get(name, KeyError)  # noqa: E731
    elif isinstance(shown, list) and isinstance(said, list) and len(shown) <= len(said):
        parts, get = enumerate(shown), said.__getitem__
    elif isinstance(shown, str) and isinstance(said, str) and _matches(shown, said):
        return ""
    else:
        return "" if shown == said else f"{at}: shown {shown!r}, answered {said!r}"
    return "; ".join(
        filter(None, (_missing(each, get(name), f"{at}/{name}") for name, each in parts))
    )


def _matches(shown: str, said: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in shown.split(ANYTHING))
    return re.fullmatch(pattern, said, re.DOTALL) is not None
