"""Verifiers of transparency logs that we did not write, behind one interface.

Each answers "" for what it accepts, and otherwise why it does not. One that is not installed skips
the test, and names the package to install.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT = Path(__file__).resolve().parents[2]
# What `make oracles` installs beside the environment.
INSTALLED = ROOT / ".data" / "oracles"


@dataclass(frozen=True)
class Claim:
    """That an entry stands in a signed tree."""

    note: str
    entry: bytes
    index: int
    proof: tuple[bytes, ...]

    @classmethod
    def of_receipt(cls, receipt: bytes) -> Claim:
        """Take a receipt apart as its specification says, without our reader."""
        head, note = receipt.decode().split("\n\n", 1)
        header, extra, index, *proof = head.split("\n")
        assert header == "c2sp.org/tlog-proof@v1"
        entry = json.loads(base64.b64decode(extra.removeprefix("extra ")))["entry"]
        steps = tuple(base64.b64decode(step) for step in proof)
        return cls(note, entry.encode(), int(index.removeprefix("index ")), steps)


@dataclass(frozen=True)
class Growth:
    """That a signed tree begins with another."""

    old: str
    new: str
    proof: tuple[bytes, ...]


class Verifier(Protocol):
    def claims(self, vkey: str, claims: Sequence[Claim]) -> list[str]: ...


class Auditor(Protocol):
    def exports(self, vkey: str, directories: Sequence[Path]) -> list[str]: ...


def missing(package: str) -> Any:
    pytest.skip(f"not installed: {package}")


# --- Rust -------------------------------------------------------------------------------------


class Metamorphic:
    """metamorphic-log: Rust behind ctypes."""

    def __init__(self) -> None:
        try:
            self._library: Any = importlib.import_module("metamorphic_log")
        except ModuleNotFoundError:
            missing("the Python package metamorphic-log")

    def claims(self, vkey: str, claims: Sequence[Claim]) -> list[str]:
        return [
            self._said(
                self._library.checkpoint_verify_inclusion,
                (claim.note, [vkey], claim.index, leaf(claim.entry), list(claim.proof)),
            )
            for claim in claims
        ]

    def growths(self, vkey: str, growths: Sequence[Growth]) -> list[str]:
        return [
            self._said(
                self._library.checkpoint_verify_consistency,
                (growth.old, growth.new, [vkey], list(growth.proof)),
            )
            for growth in growths
        ]

    def _said(self, check: Callable[..., None], arguments: tuple[Any, ...]) -> str:
        try:
            check(*arguments)
        except self._library.VerifyError as error:
            return str(error) or "refused"
        return ""


# --- Python -----------------------------------------------------------------------------------


class SigstorePython:
    """sigstore: its reader of checkpoints, its keyring, and its verifier of inclusion."""

    def __init__(self) -> None:
        try:
            self._checkpoints: Any = importlib.import_module("sigstore._internal.rekor.checkpoint")
            self._merkle: Any = importlib.import_module("sigstore._internal.merkle")
            self._trust: Any = importlib.import_module("sigstore._internal.trust")
            self._common: Any = importlib.import_module("sigstore_models.common.v1")
            self._error: Any = importlib.import_module("sigstore.errors").VerificationError
        except ModuleNotFoundError:
            missing("the Python package sigstore")

    def claims(self, vkey: str, claims: Sequence[Claim]) -> list[str]:
        return [self._said(vkey, claim) for claim in claims]

    def _said(self, vkey: str, claim: Claim) -> str:
        _name, key_id, key = vkey.split("+", 2)
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
        details = self._common.PublicKeyDetails.PKIX_ED25519
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        keyring = self._trust.Keyring([SimpleNamespace(raw_bytes=der, key_details=details)])
        try:
            signed = self._checkpoints.SignedCheckpoint.from_text(claim.note)
            proof = SimpleNamespace(
                log_index=claim.index,
                tree_size=signed.checkpoint.log_size,
                root_hash=bytes.fromhex(signed.checkpoint.log_hash),
                hashes=list(claim.proof),
                checkpoint=SimpleNamespace(envelope=claim.note),
            )
            inner = SimpleNamespace(
                inclusion_proof=proof,
                canonicalized_body=claim.entry,
                log_id=SimpleNamespace(key_id=bytes.fromhex(key_id)),
            )
            entry = SimpleNamespace(_inner=inner)
            self._checkpoints.verify_checkpoint(keyring, entry)
            self._merkle.verify_merkle_inclusion(entry)
        except (self._error, ValueError) as error:
            return str(error) or "refused"
        return ""


class AicsTlog:
    """aics-tlog, the library of the witness: notes, proofs, and audits of exported logs."""

    def __init__(self) -> None:
        packages = INSTALLED / "python"
        if not (packages / "aics_tlog").is_dir():
            missing("the Python package aics-tlog (make oracles installs it)")
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(packages))
            self._library: Any = importlib.import_module("aics_tlog")

    def claims(self, vkey: str, claims: Sequence[Claim]) -> list[str]:
        return [self._said(partial(self._claim, vkey, claim)) for claim in claims]

    def growths(self, vkey: str, growths: Sequence[Growth]) -> list[str]:
        return [self._said(partial(self._growth, vkey, growth)) for growth in growths]

    def exports(self, vkey: str, directories: Sequence[Path]) -> list[str]:
        return [self._said(partial(self._export, vkey, directory)) for directory in directories]

    def _open(self, vkey: str, note: str | bytes) -> Any:
        key = self._library.parse_vkey(vkey)
        opened = self._library.verify_checkpoint(
            self._library.parse_note(note), key, expected_origin=key.name
        )
        if not opened.ok:
            raise ValueError(opened.error)
        return opened

    def _claim(self, vkey: str, claim: Claim) -> bool:
        tree = self._open(vkey, claim.note)
        found: bool = self._library.verify_inclusion(
            leaf(claim.entry), claim.index, tree.size, claim.proof, tree.root
        )
        return found

    def _growth(self, vkey: str, growth: Growth) -> bool:
        old, new = self._open(vkey, growth.old), self._open(vkey, growth.new)
        found: bool = self._library.verify_consistency(
            old.size, new.size, old.root, new.root, growth.proof
        )
        return found

    def _export(self, vkey: str, directory: Path) -> bool:
        tree = self._open(vkey, (directory / "checkpoint").read_bytes())
        reader = self._library.FileSystemTileReader(directory)
        self._library.audit_tiles(reader, tree.size, tree.root)
        return (directory / "vkey").read_text() == f"{vkey}\n"

    def _said(self, check: Callable[[], bool]) -> str:
        try:
            return "" if check() else "refused"
        except (ValueError, OSError) as error:
            return str(error) or "refused"


# --- JavaScript -------------------------------------------------------------------------------


class SigstoreJavaScript:
    """@sigstore/verify, in one process for all claims."""

    def __init__(self) -> None:
        self._packages = INSTALLED / "npm"
        if shutil.which("node") is None:
            missing("node (Debian: nodejs)")
        if not (self._packages / "node_modules" / "@sigstore" / "verify").is_dir():
            missing("the npm package @sigstore/verify (make oracles installs it, with npm)")

    def claims(self, vkey: str, claims: Sequence[Claim]) -> list[str]:
        program = Path(__file__).parent / "tlog_js" / "verify.js"
        given = {"vkey": vkey, "receipts": [_plain(claim) for claim in claims]}
        return list(_answers(["node", str(program), str(self._packages)], given)["receipts"])


# --- Go ---------------------------------------------------------------------------------------


class GoChecksumDatabase:
    """golang.org/x/mod/sumdb: what every `go get` verifies modules with."""

    def __init__(self) -> None:
        self._program = _go_program()

    def claims(self, vkey: str, claims: Sequence[Claim]) -> list[str]:
        return self._ask(vkey, "Receipts", [_plain(claim) for claim in claims])

    def growths(self, vkey: str, growths: Sequence[Growth]) -> list[str]:
        return self._ask(vkey, "Growths", [_plain(growth) for growth in growths])

    def exports(self, vkey: str, directories: Sequence[Path]) -> list[str]:
        return self._ask(vkey, "Exports", [str(directory) for directory in directories])

    def _ask(self, vkey: str, what: str, cases: list[Any]) -> list[str]:
        return list(_answers([str(self._program)], {"VKey": vkey, what: cases})[what])


@cache
def _go_program() -> Path:
    sources = Path("/usr/share/gocode")
    gos = [shutil.which("go"), *map(str, sorted(Path("/usr/lib").glob("go-*/bin/go")))]
    go = next(filter(None, gos), None)
    if go is None:
        missing("go (Debian: golang-go)")
    if not (sources / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        missing("Go's checksum database (Debian: golang-golang-x-mod-dev)")
    INSTALLED.mkdir(parents=True, exist_ok=True)
    program = INSTALLED / f"tlog_go.{os.getpid()}"
    # Without modules: all it needs are Debian's sources, and nothing is fetched.
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(sources), "GOFLAGS": ""}
    environment["GOCACHE"] = str(INSTALLED / "go-cache")
    main = Path(__file__).parent / "tlog_go" / "main.go"
    subprocess.run([str(go), "build", "-o", str(program), str(main)], check=True, env=environment)
    # Its processes keep it running after it was renamed.
    return program.replace(INSTALLED / "tlog_go")


def _plain(case: Claim | Growth) -> dict[str, Any]:
    plain = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in vars(case).items()
    }
    plain["proof"] = [base64.b64encode(step).decode() for step in case.proof]
    return plain


def _answers(arguments: Sequence[str], given: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        arguments, input=json.dumps(given), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()
