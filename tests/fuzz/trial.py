"""One trial of the API: what was asked, what was answered, and what the document did not say."""

from __future__ import annotations

import json
import logging
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import schemathesis
from django.conf import settings
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events, from_schema

from licensing.ledger import log, signer
from marketplace.typeid import TypeID
from tests.chaos.simulator_process import simulated_stripe
from tests.security import world as worlds
from tests.security.test_access_matrix import MATRIX
from tests.security.test_cursors import LISTS

# What holds of every answer, whoever asked for what.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)
# Shares of all requests: each kind of case finds what the others do not.
SHARES = {"examples": 0.05, "fuzzing": 0.65, "stateful": 0.3}
# Of a long trial: the first asks each operation by each bound of each of its parameters.
LONG_FROM, LONG_SHARES = 20_000, {"coverage": 0.3, "fuzzing": 0.4, "stateful": 0.3}
# How many ids of the document's kind are replaced by one that is there.
REAL_IDS = 0.9
_FAILURES_SHOWN = 40
_OUTSIDE = {400, 401, 403, 404, 405, 406, 415}
DOCUMENT = Path(__file__).parents[2] / "api_docs" / "openapi.json"


@dataclass
class Account:
    """What came of a trial."""

    cases: int = 0
    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    failures: dict[tuple[str, str, str], str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    # Ids of rows that are there: what is not found of one, its own view did not find.
    known: set[str] = field(default_factory=set)
    _reached: set[str] = field(default_factory=set)

    def note(self, event: events.ScenarioFinished) -> None:
        recorder = event.recorder
        for id, interaction in recorder.interactions.items():
            node = recorder.cases.get(id)
            if node is None or interaction.response is None:
                continue
            self.cases += 1
            label = node.value.operation.label
            found = self.statuses.setdefault(label, Counter())
            status = interaction.response.status_code
            found[status] += 1
            id = (node.value.path_parameters or {}).get("id")
            if status not in _OUTSIDE or (status == 404 and (id is None or id in self.known)):
                self._reached.add(label)
            # A `default` answer is for refusals: what is done must be described by its number.
            described = node.value.operation.definition.raw["responses"]
            if status < 400 and str(status) not in described:
                curl = node.value.as_curl_command()
                self.failures[label, "Undocumented success", str(status)] = f"{status}: {curl}"
            for check in recorder.checks.get(id, ()):
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    key = (label, failure.title, failure.message[:60])
                    self.failures.setdefault(
                        key,
                        f"{interaction.response.status_code}: {failure.message}\n"
                        f"{check.failure_info.code_sample}",
                    )

    def unreached(self, labels: set[str]) -> list[str]:
        """Operations that never answered out of their own view: by more than that nothing is there,
        that nobody may ask, or that the request could not be read."""
        return sorted(labels - self._reached)


class Ids:
    """Ids of rows that are there, by their prefixes, and for each path."""

    def __init__(self, world: worlds.World, rng: random.Random) -> None:
        self._rng = rng
        self._known: dict[str, list[str]] = {}
        self._at = {
            f"/v1/{path.replace('<pk>', '{id}')}": [str(world.subject(row.subject))]
            for path, row in MATRIX.items()
        }
        for id in (*world.subjects.values(), world.archive.pk, world.lab.pk):
            self._known.setdefault(id.prefix, []).append(str(id))
        # Whose keys find the row of an id: the seller's 0, the buyer's 1.
        self.owners: dict[str, set[int]] = {}
        for number, organization in enumerate((world.archive, world.lab)):
            client = world.client(organization)
            for path in (*LISTS, "/v1/terms-templates"):
                for row in client.get(path).json().get("data", ()):
                    id = row.get("id") or row.get("name", "")
                    self._at.setdefault(f"{path}/{{id}}", []).append(id)
                    self.owners.setdefault(id, set()).add(number)

    def at(self, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a path, mostly with the id of a row that is there."""
        # Also those of the rows that the address begins with.
        listed = f"{path.partition('/{id}')[0]}/{{id}}"
        known = [each for at in {path, listed} for each in self._at.get(at, ()) if each]
        if known and self._rng.random() < REAL_IDS:
            return {**parameters, "id": self._rng.choice(known)}
        return parameters

    def instead(self, value: Any) -> Any:
        """The same data with most ids in it replaced by ids of rows that are there."""
        if isinstance(value, dict):
            return {name: self.instead(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.instead(each) for each in value]
        if isinstance(value, str) and (known := self._known.get(value.partition("_")[0])):
            try:
                TypeID.parse(value.partition("_")[0], value)
            except ValueError:
                return value
            return self._rng.choice(known) if self._rng.random() < REAL_IDS else value
        return value


class Keys:
    """Keys to ask with: a new one where a request took the last one away."""

    def __init__(self, world: worlds.World) -> None:
        self._world = world
        self._owners = (world.archive, world.lab)
        self.secrets = [self._made(number) for number in range(2)]

    def renew(self, number: int) -> None:
        self.secrets[number] = self._made(number)

    def _made(self, number: int) -> str:
        secret = self._world.client(self._owners[number]).secret
        assert secret is not None
        return secret


def run(cases: int, seed: int) -> int:
    """Ask so often. 0 where every answer was as the document says and every operation answered."""
    logging.disable(logging.WARNING)  # a line for each refusal
    account, started = Account(), time.monotonic()
    with _market() as (url, world):
        ids = Ids(world, random.Random(seed))
        _sign_in(world, ids, seed)
        account.known = set(ids.owners)
        labels: set[str] = set()
        for phase, share in (SHARES if cases < LONG_FROM else LONG_SHARES).items():
            # All operations have their turn; what follows links goes on for as long as it may.
            limit = account.cases + round(cases * share) if phase == "stateful" else None
            schema = _schema(url, ids, phase, seed, round(cases * share))
            labels |= {each.ok().label for each in schema.get_all_operations()}
            _say(f"{phase}: {len(labels)} operations, up to {round(cases * share)} requests")
            _drive(from_schema(schema).execute(), account, limit)
            seconds = time.monotonic() - started
            _say(f"{account.cases} requests, {seconds:.0f} s, {len(account.failures)} findings")
    return _tell(account, labels)


def _drive(stream: Any, account: Account, limit: int | None) -> None:
    told = time.monotonic()
    for event in stream:
        if isinstance(event, events.ScenarioFinished):
            account.note(event)
            if time.monotonic() - told > 15:
                told = time.monotonic()
                _say(f"{account.cases} requests, {len(account.failures)} findings")
            if limit is not None and account.cases >= limit:
                stream.stop()
        elif isinstance(event, events.NonFatalError):
            account.errors.append(f"{event.label}: {event.value}")
        elif isinstance(event, events.FatalError):
            raise event.exception


@contextmanager
def _market() -> Iterator[tuple[str, worlds.World]]:
    """Where the application serves, and a market in its database."""
    with tempfile.TemporaryDirectory(prefix="licet-fuzz-") as directory, simulated_stripe():
        settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
        settings.LEDGER_KEY_DIR = directory
        settings.LEDGER_GUARD = str(Path(directory) / "guard")
        for name in log.LOGS:
            signer.create(name)
        world = worlds._build()
        from marketplace.wsgi import application

        server = make_server(
            "127.0.0.1", 0, application, server_class=_Server, handler_class=_Silent
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", world
        server.shutdown()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *_args: Any) -> None:
        pass


def _sign_in(world: worlds.World, ids: Ids, seed: int) -> None:
    """Have each request come with a key of the seller or the buyer, unless it is to have none."""
    keys, rng = Keys(world), random.Random(seed)

    @schemathesis.serializer("application/offset+octet-stream")
    def piece(_context: Any, value: Any) -> Any:
        return value if isinstance(value, bytes) else str(value).encode()

    @schemathesis.auth(refresh_interval=None)
    class Key:
        def get(self, case: Any, _context: Any) -> str:
            owners = ids.owners.get((case.path_parameters or {}).get("id", ""))
            if not owners or rng.random() > REAL_IDS:
                return rng.choice(keys.secrets)
            return keys.secrets[rng.choice(sorted(owners))]

        def set(self, case: Any, data: str, _context: Any) -> None:
            case.headers["Authorization"] = f"Bearer {data}"

    @schemathesis.hook
    def after_call(_context: Any, case: Any, response: Any) -> None:
        sent = str((case.headers or {}).get("Authorization", "")).removeprefix("Bearer ")
        if response.status_code == 401 and sent in keys.secrets:
            keys.renew(keys.secrets.index(sent))


def _schema(url: str, ids: Ids, phase: str, seed: int, cases: int) -> Any:
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "base-url": url,
            "continue-on-failure": True,
            # The market is made for this, and so are its secrets.
            "output": {"sanitization": {"enabled": False}},
            "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
            "phases": {name: {"enabled": name == phase} for name in {*SHARES, *LONG_SHARES}},
            "generation": {
                # For each operation, or of chains of a few operations each.
                "max-examples": max(3, cases // (3 if phase == "stateful" else 130)),
                "database": "none",
                "no-shrink": True,
                # Nobody's key opens nothing: `ignored_auth` asks so, and other tests do.
                "with-security-parameters": False,
            },
        }
    )
    schema = schemathesis.openapi.from_dict(json.loads(DOCUMENT.read_text()), config=config)

    @schema.hook
    def filter_failure(_context: Any, _failure: Any, _case: Any, response: Any) -> bool:
        # The sellers of the market have accounts that the simulated Stripe does not know.
        return response.status_code != 502 or b"payment_provider_refused" not in response.content

    @schema.hook
    def map_case(_context: Any, case: Any) -> Any:
        # What was made wrong on purpose stays as it is.
        right = {place for place, said in case.meta.components.items() if said.mode.is_positive}
        if ParameterLocation.PATH in right:
            case.path_parameters = ids.at(case.operation.path, case.path_parameters)
        if ParameterLocation.BODY in right and isinstance(case.body, dict):
            case.body = ids.instead(case.body)
        return case

    return schema


def _tell(account: Account, labels: set[str]) -> int:
    statuses: Counter[int] = Counter()
    for found in account.statuses.values():
        statuses += found
    print(f"{account.cases} requests: {dict(sorted(statuses.items()))}")
    unreached = account.unreached(labels)
    for label in unreached:
        print(f"never reached: {label} {dict(account.statuses.get(label, {}))}")
    for text in sorted(set(account.errors)):
        print(f"could not be tried: {text}")
    for (label, title, _message), text in sorted(account.failures.items())[:_FAILURES_SHOWN]:
        print(f"\n{label}: {title}\n{text}")
    print(
        f"{len(account.failures)} findings, {len(unreached)} of {len(labels)} operations never"
        f" reached, {len(set(account.errors))} errors"
    )
    return int(bool(account.failures or unreached or account.errors))


def _say(text: str) -> None:
    print(f"fuzz: {text}", file=sys.stderr, flush=True)
