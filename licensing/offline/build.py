"""Build licet-offline.pyz: the same bytes from the same sources, wherever it is built."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What an outsider's tool is made of, and nothing else. `licensing/__init__.py` must stay empty.
SOURCES = (
    "licensing/__init__.py",
    "licensing/clauses.py",
    "licensing/decisions.py",
    "licensing/dimensions.py",
    "licensing/duties.py",
    "licensing/jcs.py",
    "licensing/phrases.py",
    "licensing/sentences.py",
    "licensing/layout.py",
    "licensing/settree.py",
    "licensing/status_proofs.py",
    "licensing/status_tree.py",
    "licensing/terms_text.py",
    "licensing/terms_text_1.py",
    "licensing/terms_text_2.py",
    "licensing/vocabulary.py",
    "licensing/ledger/__init__.py",
    "licensing/ledger/commitments.py",
    "licensing/ledger/cosignatures.py",
    "licensing/ledger/generations.py",
    "licensing/ledger/keychain.py",
    "licensing/ledger/notes.py",
    "licensing/ledger/receipts.py",
    "licensing/ledger/regrowth.py",
    "licensing/ledger/tree.py",
    "licensing/offline/__init__.py",
    "licensing/offline/__main__.py",
    "licensing/offline/audit.py",
    "licensing/offline/decide.py",
    "licensing/offline/entries.py",
    "licensing/offline/following.py",
    "licensing/offline/manifest.py",
    "licensing/offline/pull.py",
    "licensing/offline/question.py",
    "licensing/offline/links.py",
    "licensing/offline/logs.py",
    "licensing/offline/remember.py",
    "licensing/offline/shards.py",
    "licensing/offline/status.py",
    "licensing/offline/transport.py",
    "licensing/offline/verify.py",
)

_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = "import sys\n\nfrom licensing.offline.__main__ import main\n\nsys.exit(main())\n"


def build(target: Path) -> str:
    """Write the archive. Gives its SHA-256."""
    # Renamed when it is whole: somebody may be running the one that stands there.
    making = target.with_name(f"{target.name}.{os.getpid()}")
    with making.open("wb") as file:
        file.write(_SHEBANG)
        # Stored, not compressed: compressed bytes depend on the zlib that made them.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_entry("__main__.py"), _MAIN)
            for source in SOURCES:
                archive.writestr(_entry(source), (ROOT / source).read_bytes())
    making.chmod(0o755)
    making.replace(target)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o100644 << 16
    return entry


def main() -> int:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "licet-offline.pyz")
    print(f"{target}: SHA-256 {build(target)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
