"""The offline tool: check a receipt, a log or entries, decide, or pull a grant's works."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from licensing.offline import question

if TYPE_CHECKING:
    from licensing.offline.pull import Job

USAGE = 2
INTERRUPTED = 130
_RECEIPT_MAX = 4 * 1024 * 1024
_PAGE_MAX = 256 * 1024 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        run: int = options.run(options)
    except _CannotStart as error:
        print(f"licet-offline: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("licet-offline: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left. Python would complain once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return run


class _CannotStart(Exception):
    """The command cannot run as it was called."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="licet-offline", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_verify(commands)
    _add_audit(commands)
    _add_entries(commands)
    _add_decide(commands)
    _add_pull(commands)
    return parser


def _add_verify(commands: Any) -> None:
    verify = commands.add_parser(
        "verify",
        help="check a ledger receipt against the log's key",
        description="Check a ledger receipt. Exit codes: 0 sound, and with --status in force; 4 "
        "sound, but by --status not in force; 3 sound, but a test license and --allow-test not "
        "given; 1 not sound, or the log contradicts itself; 2 the command was called wrongly, or "
        "cannot tell what --remember or --log asks for.",
    )
    verify.add_argument("receipt", metavar="RECEIPT", help="the receipt file, or - for input")
    verify.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="VKEY",
        help="the log's verifier key, as text or as a file; may be given again",
    )
    verify.add_argument(
        "--allow-test", action="store_true", help="exit 0 for a sound test license too"
    )
    verify.add_argument(
        "--witness",
        action="append",
        default=[],
        metavar="VKEY",
        help="the key of a witness whose cosignature counts, as text or as a file",
    )
    verify.add_argument(
        "--status",
        metavar="FILE",
        help="the grant's status proof: say whether it was in force, and as of when",
    )
    verify.add_argument(
        "--remember",
        type=Path,
        metavar="FILE",
        help="compare with the newest checkpoint seen of this log, and keep the newer one there",
    )
    verify.add_argument(
        "--log",
        metavar="URL|DIR",
        help="the log itself, https://licet.example/ledger/live or an exported directory: compare "
        "with what it shows now",
    )
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    verify.set_defaults(run=_verify)


def _add_audit(commands: Any) -> None:
    audit = commands.add_parser(
        "audit",
        help="recompute a whole log from its entries, against its signed checkpoint",
        description="Check everything that a log's checkpoint vouches for. Exit codes: 0 sound; "
        "1 broken, naming the first file that shows it; 2 called wrongly, or a file of the log "
        "cannot be had.",
    )
    audit.add_argument("log", metavar="URL|DIR", help="the log, or a directory with its files")
    audit.add_argument(
        "--key", action="append", default=[], metavar="VKEY", help="the log's verifier key"
    )
    audit.add_argument(
        "--witness", action="append", default=[], metavar="VKEY", help="the key of a witness"
    )
    audit.add_argument("--json", action="store_true", help="print one JSON object")
    audit.set_defaults(run=_audit)


def _add_entries(commands: Any) -> None:
    entries = commands.add_parser(
        "entries",
        help="check that saved pages of your own ledger entries leave nothing out",
        description="Check pages of /v1/ledger/entries, in the order in which they were read: "
        "every entry is what it is said to be, and its number is the next one. Exit codes: 0 all "
        "are sound, without a gap; 3 so, but of the test log and --allow-test not given; 1 not "
        "sound, or a number is missing, comes twice or in another order; 2 the command was called "
        "wrongly, or openings that were erased leave numbers unproven.",
    )
    entries.add_argument("pages", nargs="+", metavar="FILE", help="a saved page, or - for input")
    entries.add_argument(
        "--after",
        type=_number,
        default=0,
        metavar="N",
        help="the last number of the pages before these (default 0: these begin with 1)",
    )
    entries.add_argument(
        "--allow-test", action="store_true", help="exit 0 for entries of the test log too"
    )
    entries.add_argument("--json", action="store_true", help="print one JSON object")
    entries.set_defaults(run=_entries)


def _add_decide(commands: Any) -> None:
    decide = commands.add_parser(
        "decide",
        help="say whether works may be used so, by a grant's receipt and manifest",
        description="Decide by an exported grant as the market does. Exit codes: 0 all is "
        "permitted; 4 something is denied or needs review; 3 a test license and --allow-test not "
        "given; 1 the receipt or the manifest is not sound; 2 the command was called wrongly.",
    )
    question.add_options(decide)
    decide.set_defaults(run=_decide)


def _add_pull(commands: Any) -> None:
    pull = commands.add_parser(
        "pull",
        help="download the works of a grant, checking each",
        description="Download the works that a grant covers into a directory. Run it again to go "
        "on where it stopped. Exit codes: 0 all works are there and checked; 1 some are not; "
        "2 the command was called wrongly.",
    )
    pull.add_argument("--server", required=True, metavar="URL", help="https://licet.example")
    pull.add_argument("--grant", required=True, metavar="ID", help="the grant, grt_…")
    pull.add_argument("--to", required=True, type=Path, metavar="DIR", help="where works go")
    # Never on the command line itself: everybody on the machine could read it there.
    pull.add_argument(
        "--key-env",
        default="LICET_KEY",
        metavar="NAME",
        help="the environment variable that holds the API key (default LICET_KEY)",
    )
    pull.add_argument("--key-file", type=Path, metavar="FILE", help="a file with the API key")
    pull.add_argument("--jobs", type=_jobs, default=8, metavar="N", help="downloads at a time")
    pull.add_argument(
        "--shards",
        action="store_true",
        help="fetch small works many at a time, out of tar shards: for many works",
    )
    pull.add_argument(
        "--receipt", metavar="FILE", help="also check that this receipt covers the set"
    )
    pull.add_argument(
        "--receipt-key", action="append", default=[], metavar="VKEY", help="the log's key for it"
    )
    pull.add_argument("--allow-http", action="store_true", help="send the API key over plain HTTP")
    pull.add_argument("--json", action="store_true", help="print one JSON object at the end")
    pull.set_defaults(run=_pull)


def _verify(options: argparse.Namespace) -> int:
    try:
        from licensing.ledger.receipts import ReceiptError
        from licensing.offline import status, verify
        from licensing.offline.remember import MemoryUnusable
    except ModuleNotFoundError as error:
        raise _CannotStart(
            f"verify needs the Python package {error.name}: pip install cryptography"
        ) from None

    try:
        keys = verify.read_keys(options.key)
        witnesses = verify.read_witnesses(options.witness)
        data = _read(options.receipt)
        if options.log is not None:
            keys = verify.followed(options.log, keys)
        proven = verify.check(data, keys)
        standing = verify.stand(
            data,
            proven,
            keys,
            witnesses=witnesses,
            file=options.remember,
            place=options.log,
        )
        stands = None
        if options.status is not None:
            stands = status.check(_read(options.status), proven, keys)
    except (verify.UsageError, MemoryUnusable) as error:
        raise _CannotStart(error) from None
    except ReceiptError as error:
        print(_json(verify.failure(error)) if options.json else verify.describe_failure(error))
        return verify.NOT_SOUND
    code = verify.exit_code(proven, standing, allow_test=options.allow_test)
    if stands is None:
        print(
            _json(verify.report(proven, standing))
            if options.json
            else verify.describe(proven, standing)
        )
        return code
    if options.json:
        shown = {**verify.report(proven, standing), "status": status.report(stands, proven)}
        print(_json(shown))
    else:
        print(verify.describe(proven, standing, with_status=True))
        print(status.describe(stands, proven))
    return code if stands.is_in_force or code == verify.USAGE else status.NOT_IN_FORCE


def _audit(options: argparse.Namespace) -> int:
    try:
        from licensing.offline import audit, verify
        from licensing.offline.logs import LogUnavailable
    except ModuleNotFoundError as error:
        raise _CannotStart(
            f"audit needs the Python package {error.name}: pip install cryptography"
        ) from None

    try:
        keys = verify.read_keys(options.key)
        witnesses = verify.read_witnesses(options.witness)
        done = audit.audit_on(options.log, keys, witnesses)
    except (verify.UsageError, LogUnavailable) as error:
        raise _CannotStart(verify.printable(str(error))) from None
    except audit.AuditError as error:
        reason = verify.printable(str(error))
        print(
            _json({"sound": False, "broken": error.place, "reason": reason})
            if options.json
            else f"BROKEN: {reason}"
        )
        return verify.NOT_SOUND
    if options.json:
        print(_json(audit.report_all(done)))
    else:
        print("\n".join(map(verify.printable, map(audit.describe, done))))
    return verify.USAGE if any(each.missing for each in done) else verify.SOUND


def _entries(options: argparse.Namespace) -> int:
    # Needs no key, and so no package.
    from licensing.offline import entries

    try:
        found = entries.check(
            [(path, _read(path, _PAGE_MAX)) for path in options.pages], options.after
        )
    except entries.NotSound as error:
        print(_json(error.report()) if options.json else error.describe())
        return entries.NOT_SOUND
    print(_json(found.report()) if options.json else found.describe())
    return found.exit_code(allow_test=options.allow_test)


def _decide(options: argparse.Namespace) -> int:
    try:
        from licensing.ledger.receipts import ReceiptError
        from licensing.offline import decide, verify
    except ModuleNotFoundError as error:
        raise _CannotStart(
            f"decide needs the Python package {error.name}: pip install cryptography"
        ) from None

    try:
        keys = verify.read_keys(options.key)
        asked = question.asked(options)
        answers = decide.decide(verify.check(_read(options.receipt), keys), asked, options.manifest)
    except (verify.UsageError, question.QuestionError) as error:
        raise _CannotStart(error) from None
    except ReceiptError as error:
        print(_json(verify.failure(error)) if options.json else verify.describe_failure(error))
        return decide.NOT_SOUND
    except decide.ExportError as error:
        reason = verify.printable(str(error))
        print(_json({"sound": False, "reason": reason}) if options.json else f"NOT SOUND: {reason}")
        return decide.NOT_SOUND
    print(_json(answers.report()) if options.json else answers.describe())
    return answers.exit_code(allow_test=options.allow_test)


def _pull(options: argparse.Namespace) -> int:
    # Only here: pull runs without the cryptography package, unless it is to check a receipt.
    from licensing.offline import pull

    job = pull.Job(
        server=_server(options),
        grant=options.grant,
        api_key=_api_key(options),
        directory=options.to,
        jobs=options.jobs,
        shards=options.shards,
        covered=_covered(options),
    )
    return _carry_out(job, as_json=options.json)


def _carry_out(job: Job, *, as_json: bool) -> int:
    from licensing.offline import pull
    from licensing.offline.links import PullError

    try:
        outcome = pull.run(job)
    except PullError as error:
        if as_json:
            print(json.dumps({"complete": False, "code": error.code, "reason": str(error)}))
        print(f"pull: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(outcome.report(), ensure_ascii=False))
    else:
        print(outcome.describe())
    return 0 if outcome.complete else 1


def _covered(options: argparse.Namespace) -> frozenset[str] | None:
    """The citations that the receipt covers, once it is proven sound."""
    if options.receipt is None:
        return None
    try:
        from licensing.ledger.receipts import ReceiptError
        from licensing.offline import verify
    except ModuleNotFoundError as error:
        raise _CannotStart(
            f"--receipt needs the Python package {error.name}: pip install cryptography"
        ) from None
    try:
        keys = verify.read_keys(options.receipt_key)
        proven = verify.check(_read(options.receipt), keys)
    except verify.UsageError as error:
        raise _CannotStart(str(error).replace("--key", "--receipt-key")) from None
    except ReceiptError as error:
        raise _CannotStart(verify.describe_failure(error)) from None
    return verify.cited(proven)


def _server(options: argparse.Namespace) -> str:
    server: str = options.server.rstrip("/")
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _CannotStart(f"--server {server}: give an address as https://licet.example")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not options.allow_http:
        raise _CannotStart(
            f"--server {server}: the API key would travel unencrypted. Use https, or --allow-http "
            "on a network that is yours."
        )
    return server


def _api_key(options: argparse.Namespace) -> str:
    if options.key_file is not None:
        key = _read(str(options.key_file)).decode(errors="replace").strip()
        source = f"--key-file {options.key_file}"
    else:
        key = os.environ.get(options.key_env, "").strip()
        source = f"the environment variable {options.key_env}"
    if not key:
        raise _CannotStart(f"{source} holds no API key. Set it, or name another place.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise _CannotStart(f"{source} holds something that is no API key.")
    return key


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError("give a number from 1 to 64")
    return int(text)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError("give the number of an entry")
    return int(text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read(path: str, limit: int = _RECEIPT_MAX) -> bytes:
    """Read a small file. One byte above the limit is enough to be refused by whoever parses it."""
    try:
        if path == "-":
            return sys.stdin.buffer.read(limit + 1)
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise _CannotStart(f"{path}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
