"""The demonstration: two tenants, real files, over HTTP, from a listing to a verified receipt."""

from __future__ import annotations

import html.parser
import json
import os
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from licensing.ledger import guard, succession
from marketplace import api_keys, operators, organizations
from marketplace.access import Scope, system
from marketplace.models import Organization
from payments import demo_market, demo_opt_out, demo_royalties
from payments.processes import World

# A step that says nothing for this long says that it is still at it.
HEARTBEAT_SECONDS = 5
SETTLE_WITHIN_SECONDS = 90
PASSWORD = "licet-demo"
PRICE_MINOR, CURRENCY = 250_000, "USD"


class DemoFailed(Exception):
    """A step of the demonstration went wrong; the message says what and what to try."""


@dataclass
class Cast:
    """Who plays: kept beside the database so that a second run, and `make run`, find them."""

    archive: str
    archive_key: str
    lab: str
    lab_key: str
    collections: dict[str, str]
    grant: str = ""
    receipt: str = ""
    creator: str = ""
    creator_key: str = ""
    # How far the market of `make run` is: "", "begun" or "done".
    market: str = ""

    @staticmethod
    def path() -> Path:
        return Path(settings.DATA_DIR) / "demo" / "cast.json"

    @classmethod
    def load(cls) -> Cast | None:
        try:
            cast = cls(**json.loads(cls.path().read_text()))
        except (OSError, ValueError, TypeError):
            return None
        with system("find the demonstration's organizations"):
            known = Organization.objects.filter(pk__in=[cast.archive, cast.lab]).count()
        return cast if known == 2 else None

    def save(self) -> None:
        path = self.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self), indent=2))


class Script:
    """Prints each step with its time, and never stays silent for long."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._last = self._begin
        self._label = ""
        self._done = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def say(self, text: str) -> None:
        self._last = time.monotonic()
        print(f"{self._last - self._begin:6.1f} s  {text}", flush=True)

    def detail(self, text: str) -> None:
        self._last = time.monotonic()
        for line in text.splitlines():
            print(f"          {line}", flush=True)

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        self._label = label
        begin = time.monotonic()
        yield
        took = time.monotonic() - begin
        self._label = ""
        self.say(f"{label}  ({took:.1f} s)")

    def end(self) -> None:
        self._done.set()

    def _beat(self) -> None:
        while not self._done.wait(1):
            if self._label and time.monotonic() - self._last > HEARTBEAT_SECONDS:
                self.say(f"… {self._label}")


class Http:
    """One tenant's HTTP client: nothing here reaches past the public API."""

    def __init__(self, base_url: str, secret: str) -> None:
        self.base_url, self.secret = base_url, secret

    def get(self, path: str) -> Any:
        return json.loads(self.raw(path))

    def post(self, path: str, body: dict[str, Any] | None = None, *, key: str = "") -> Any:
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        return json.loads(self.raw(path, json.dumps(body or {}).encode(), headers))

    def raw(
        self,
        path: str,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        method: str | None = None,
    ) -> bytes:
        request = urllib.request.Request(
            self.base_url + path,
            data=data,
            method=method,
            headers={"Authorization": f"Bearer {self.secret}", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            raise DemoFailed(f"{path} answered {error.code}: {error.read().decode()}") from None


def gather() -> Cast:
    """The two tenants, their members and keys: an operator's work, done once."""
    cast = Cast.load()
    if cast is not None:
        return cast
    archive = organizations.found(
        kind="platform",
        name="Demo archive",
        legal_name="Demo Archive Foundation",
        jurisdiction="NL",
        registration_number="DEMO-1",
        registered_address="1 Herengracht, Amsterdam",
        representative_name="Ada Archivist",
        contact_email="archive@demo.example",
    )
    lab = organizations.found(
        kind="lab",
        name="Demo lab",
        legal_name="Demo Lab Inc.",
        jurisdiction="US-DE",
        registration_number="DEMO-2",
        registered_address="1 Market Street, Wilmington",
        representative_name="Lin Labcoat",
        contact_email="lab@demo.example",
    )
    operators.appoint(email="operator@demo.example", name="Olive Operator", password=PASSWORD)
    keys = {}
    for organization, email, name in (
        (archive, "archive@demo.example", "Ada Archivist"),
        (lab, "lab@demo.example", "Lin Labcoat"),
    ):
        organizations.admit(organization, email=email, name=name, password=PASSWORD, role="owner")
        caller = organizations.operator(organization)
        _key, keys[organization.pk] = api_keys.create(
            caller, name="demonstration", scopes=[scope.value for scope in Scope]
        )
    cast = Cast(str(archive.pk), keys[archive.pk], str(lab.pk), keys[lab.pk], {})
    cast.save()
    return cast


def fill_market(script: Script, world: World, cast: Cast) -> None:
    """Bring the market to life that `make run` shows, once. Raises DemoFailed."""
    if cast.market or "simulator" not in world.running:
        return
    if not cast.creator:
        creator = organizations.found(
            kind="creator",
            name="Demo creator",
            legal_name="Mira Feather",
            jurisdiction="IE",
            registration_number="DEMO-3",
            registered_address="1 Strand Road, Galway",
            representative_name="Mira Feather",
            contact_email="creator@demo.example",
        )
        organizations.admit(
            creator,
            email="creator@demo.example",
            name="Mira Feather",
            password=PASSWORD,
            role="owner",
        )
        caller = organizations.operator(creator)
        _key, secret = api_keys.create(
            caller, name="demonstration", scopes=[scope.value for scope in Scope]
        )
        cast.creator, cast.creator_key = str(creator.pk), secret
    # Said first: what was cut off half-way is not begun again beside itself.
    cast.market = "begun"
    cast.save()
    people = demo_market.People(
        archive=Http(world.web_url, cast.archive_key),
        creator=Http(world.web_url, cast.creator_key),
        lab=Http(world.web_url, cast.lab_key),
        pay=pay,
    )
    try:
        demo_market.fill(script, people, world.web_url, world.simulator_url)
    except demo_opt_out.Failed as error:
        raise DemoFailed(str(error)) from None
    cast.market = "done"
    cast.save()


class Story:
    """The main job, told once."""

    def __init__(self, script: Script, world: World, cast: Cast, folder: Path | None) -> None:
        self.script, self.world, self.cast = script, world, cast
        self.is_own_folder = folder is not None
        self.folder = folder or Path(sysconfig.get_path("stdlib"))
        self.archive = Http(world.web_url, cast.archive_key)
        self.lab = Http(world.web_url, cast.lab_key)
        # Three correspondents' letters; the first one's is taken out at the end.
        self.letters: list[demo_opt_out.Letter] = []
        self.letter: demo_opt_out.Letter
        self.directory = Path(settings.DATA_DIR) / "demo"
        # In life, the lab gets the log's key once, over a way that it trusts.
        self.vkey = self.directory / "ledger.vkey"

    def tell(self) -> tuple[int, str]:
        """Play every scene. Returns how many works the lab holds, and the grant's id."""
        offer = self.list_works()
        self.ask("Demo lab asks before it buys: may I train on the letter?", "deny")
        order = self.buy(offer)
        grant = self.lab.get(f"/v1/grants/{order['grant']}")
        self.show_grant(grant)
        self.ask("Demo lab asks again, for the same letter", "permit")
        receipt = self.fetch_receipt(grant["id"])
        self.vkey.write_bytes(self.lab.raw("/ledger/test/vkey"))
        works = self.pull(grant["id"], receipt)
        self.verify(receipt)
        self.pay_out(order["id"])
        self.opt_out(grant["id"])
        self.cast.grant, self.cast.receipt = grant["id"], str(receipt)
        self.cast.save()
        return works, grant["id"]

    # --- the seller ---

    def list_works(self) -> dict[str, Any]:
        collection = self.collection()
        with self.script.step(f"Demo archive imports {self.shown_folder()}"):
            self.import_folder(collection)
        with self.script.step("Demo archive uploads letters of three correspondents"):
            self.letters = [
                demo_opt_out.write_letter(self.archive, collection) for _each in range(3)
            ]
            self.letter = self.letters[0]
        with self.script.step("It promises them 40 % of each sale, and opens its own account"):
            rule = demo_royalties.set_rule(self.archive, collection, self.letters)
            account = demo_royalties.open_account(self.archive)
        self.script.detail(f"{rule}\n{account}")
        with self.script.step("Demo archive freezes a snapshot"):
            snapshot = self.archive.post(f"/v1/collections/{collection}/snapshots")
        self.script.detail(f"{snapshot['size']} works, root {snapshot['root'][:16]}…")
        with self.script.step("Demo archive publishes terms and lists the collection"):
            terms = self.terms()
            offer = self.offer(snapshot["id"], terms["id"])
        self.script.detail(first_sentences(terms["text"]))
        self.script.detail(f"listing {offer['id']} at {PRICE_MINOR // 100:,} {CURRENCY}")
        return dict(offer)

    def shown_folder(self) -> str:
        return str(self.folder) if self.is_own_folder else "Python's standard library"

    def collection(self) -> str:
        key = str(self.folder.resolve())
        if key in self.cast.collections:
            return self.cast.collections[key]
        name = self.folder.name if self.is_own_folder else "Python standard library"
        collection = self.archive.post(
            "/v1/collections",
            {
                "name": name,
                "description": "Files of the machine that runs this demonstration.",
                "notice": "Demonstration: not an offer",
            },
        )
        basis = {
            "basis": "open_license",
            "license_name": "PSF-2.0",
            "statement": "Python's standard library is published under the PSF License Version 2.",
        }
        if self.is_own_folder:
            basis = {
                "basis": "own",
                "license_name": "",
                "statement": "These are my own files; this is a demonstration.",
            }
        self.archive.post(
            f"/v1/collections/{collection['id']}/attestations",
            {
                **basis,
                "person_name": "Ada Archivist",
                "person_title": "Head of rights",
                "authority": True,
            },
        )
        self.cast.collections[key] = str(collection["id"])
        self.cast.save()
        return str(collection["id"])

    def import_folder(self, collection: str) -> None:
        command = [sys.executable, "manage.py", "import_directory", str(self.folder)]
        command += ["--organization", self.cast.archive, "--collection", collection]
        if not self.is_own_folder:
            # What was installed or compiled beside the library is not part of it.
            for name in ("site-packages", "dist-packages", "__pycache__"):
                command += ["--exclude", name]
        self.run(command, "The import failed. Try another folder: make demo FROM=/any/folder")

    def terms(self) -> Any:
        name = "Demonstration: train in the EU, US and UK"
        for terms in self.archive.get("/v1/terms?limit=200")["data"]:
            if terms["name"] == name and terms["published_at"]:
                return terms
        draft = self.archive.post("/v1/terms", {"name": name, "typed": demo_market.TERMS})
        return self.archive.post(f"/v1/terms/{draft['id']}/publish")

    def offer(self, snapshot: str, terms: str) -> Any:
        for offer in self.archive.get("/v1/offers?limit=200")["data"]:
            if (offer["snapshot"], offer["terms"], offer["state"]) == (snapshot, terms, "listed"):
                return offer
        draft = self.archive.post(
            "/v1/offers",
            {
                "snapshot": snapshot,
                "terms": terms,
                "price_minor": PRICE_MINOR,
                "currency": CURRENCY,
            },
        )
        return self.archive.post(f"/v1/offers/{draft['id']}/publish")

    def pay_out(self, order: str) -> None:
        """The sale's money reaches the archive, and the three correspondents."""
        with self.script.step("The archive's share is sent to its account (simulated)"):
            sent = demo_royalties.sent(self.archive, order)
        self.script.detail(sent)
        with self.script.step("The correspondents' shares, each computed again from its statement"):
            lines = demo_royalties.statements(self.archive, order, self.letters)
        self.script.detail("\n".join(lines))
        paid = self.letters[-1]
        with self.script.step("One of them opens an account by a link, and is paid (simulated)"):
            account = demo_royalties.open_theirs(self.archive, paid)
            said = demo_royalties.pay_out(self.archive, paid, self.world.simulator_url)
        self.script.detail(f"{account}\n{said}")

    # --- the lab ---

    def buy(self, offer: dict[str, Any]) -> Any:
        with self.script.step("Demo lab finds the listing and asks for a quote"):
            listed = self.lab.get("/v1/listings?use=pretrain&territory=DE&limit=200")["data"]
            if offer["id"] not in {listing["id"] for listing in listed}:
                raise DemoFailed("The listing is not among what the lab finds.")
            quote = self.lab.post(
                "/v1/quotes",
                {"offer": offer["id"], "uses": ["pretrain"], "territories": ["EU"]},
            )
        self.script.detail(
            f"{quote['id']}: {quote['total_minor'] // 100:,} {quote['currency']},"
            f" document {quote['document_sha256'][:16]}…"
        )
        with self.script.step("Demo lab accepts that document and orders"):
            order = self.lab.post(
                "/v1/orders",
                {
                    "quote": quote["id"],
                    "accept": {
                        "document_sha256": quote["document_sha256"],
                        "name": "Lin Labcoat",
                        "title": "General counsel",
                        "authority": True,
                    },
                },
                key=f"demo-{quote['id']}",
            )
        with self.script.step("Demo lab pays on the hosted page (simulated: no money moves)"):
            pay(order["checkout_url"])
        with self.script.step("Stripe's signed webhook arrives; paid, grant and entry commit"):
            return self.settled(order["id"])

    def settled(self, order_id: str) -> Any:
        deadline = time.monotonic() + SETTLE_WITHIN_SECONDS
        while time.monotonic() < deadline:
            self.world.check()
            order = self.lab.get(f"/v1/orders/{order_id}")
            if order["status"] == "granted":
                return order
            if order["status"] not in {"awaiting_payment", "paid"}:
                raise DemoFailed(f"The order ended as “{order['status']}”.")
            time.sleep(0.1)
        raise DemoFailed(f"Order {order_id} was not granted. See .data/logs/worker.log.")

    def show_grant(self, grant: dict[str, Any]) -> None:
        period = grant["periods"][0]
        self.script.detail(f"grant {grant['id']}, status {grant['status']}")
        self.script.detail(
            f"{', '.join(period['scope']['uses'])} in {', '.join(period['scope']['territories'])},"
            f" training until {period['windows']['training']['ends_at']}"
        )

    def fetch_receipt(self, grant: str) -> Path:
        path = self.directory / f"{grant}.tlog-proof"
        with self.script.step("The ledger integrates and signs; the lab fetches its receipt"):
            deadline = time.monotonic() + SETTLE_WITHIN_SECONDS
            while time.monotonic() < deadline:
                receipt = self.lab.raw(f"/v1/grants/{grant}/receipt?wait=5")
                if not receipt.startswith(b"{"):
                    path.write_bytes(receipt)
                    return path
                time.sleep(0.2)
        raise DemoFailed("The receipt did not come. See .data/logs/worker.log.")

    def pull(self, grant: str, receipt: Path) -> int:
        target = self.directory / "pulled"
        with self.script.step("Demo lab pulls the works; every digest is checked"):
            command = [*self.offline(), "pull", "--shards"]
            command += ["--server", self.world.web_url, "--grant", grant]
            command += ["--key-env", "LICET_KEY", "--to", str(target)]
            command += ["--receipt", str(receipt), "--receipt-key", str(self.vkey)]
            self.run(command, "The pull failed.", LICET_KEY=self.cast.lab_key)
        return count_pulled(target)

    def verify(self, receipt: Path) -> None:
        command = [*self.offline(), "verify", "--key", str(self.vkey), "--allow-test"]
        with self.script.step("Anybody verifies the receipt, offline"):
            self.run([*command, str(receipt)], "The receipt did not verify.")
        forged = self.directory / "one-byte-flipped.tlog-proof"
        original = receipt.read_bytes()
        middle = len(original) // 3
        forged.write_bytes(
            original[:middle] + bytes([original[middle] ^ 1]) + original[middle + 1 :]
        )
        with self.script.step("The same receipt with one byte flipped is refused"):
            ended = subprocess.run([*command, str(forged)], capture_output=True, text=True)
            if ended.returncode != 1:
                raise DemoFailed("A forged receipt was not refused.")
        self.script.detail((ended.stdout + ended.stderr).strip())

    def ask(self, title: str, expected: str) -> None:
        with self.script.step(title):
            answer = demo_opt_out.may_i(self.lab, self.letter, expected)
        self.script.detail(answer)

    def opt_out(self, grant: str) -> None:
        """The correspondent takes the letter out: refused at once, told, acknowledged."""
        link = demo_opt_out.link_of(self.lab, grant, self.letter)
        with self.script.step("The correspondent opens an opt-out link and presses its button"):
            made = demo_opt_out.take_out(self.archive, self.letter)
        self.script.detail(made)
        self.ask("Demo lab asks once more, at once", "deny")
        with self.script.step("The lab's link of a moment ago is refused"):
            answer = demo_opt_out.refused(link)
        self.script.detail(answer)
        with self.script.step("The lab has a notice of it, and acknowledges"):
            answer = demo_opt_out.acknowledge(self.lab, grant)
        self.script.detail(answer)

    def offline(self) -> list[str]:
        return [sys.executable, "-I", str(Path(settings.BASE_DIR) / "licet-offline.pyz")]

    def run(self, command: list[str], failure: str, **environment: str) -> None:
        """Run one program, showing what it says as it says it."""
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=settings.BASE_DIR,
            env={**self.world.environment(), **environment},
        )
        assert process.stdout is not None
        for line in process.stdout:
            self.script.detail(line.rstrip())
        if process.wait() != 0:
            raise DemoFailed(failure)


class _Form(html.parser.HTMLParser):
    """Finds the form with a button named like one we seek, as a browser would submit it."""

    def __init__(self, button: str) -> None:
        super().__init__()
        self.button = button
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._open: tuple[str, dict[str, str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = (named.get("action", ""), {})
        elif self._open is not None and tag == "input" and "name" in named:
            self._open[1][named["name"]] = named.get("value", "")
        elif self._open is not None and tag == "button" and named.get("value") == self.button:
            self.action, self.fields = self._open
            if "name" in named:
                self.fields[named["name"]] = named["value"]


def pay(checkout_url: str) -> None:
    """Open the hosted page and press its Pay button."""
    with urllib.request.urlopen(checkout_url, timeout=30) as page:
        form = _Form("pay")
        form.feed(page.read().decode())
    if form.action is None:
        raise DemoFailed("The pay page has no Pay button.")
    url = urllib.parse.urljoin(checkout_url, form.action)
    with urllib.request.urlopen(
        url, data=urllib.parse.urlencode(form.fields).encode(), timeout=30
    ) as answer:
        answer.read()


def count_pulled(target: Path) -> int:
    """How many works the lab holds of what it just pulled, counted from its own files.

    The folder keeps what earlier grants brought, so that a pull fetches nothing twice.
    """
    works = (target / "index.ndjson").read_text().splitlines()
    return sum(1 for line in works if (target / json.loads(line)["file"]).is_file())


def first_sentences(text: str) -> str:
    """The permission, the prohibition and the term: the numbered clauses that say the most."""
    wanted = [line for line in text.splitlines() if line[:2] in {"2.", "3.", "4."}]
    return "\n".join(wanted[:3])


def migrate() -> None:
    """Bring the tables up to date, as their owner."""
    environment = {**os.environ, "LICET_DATABASE_ROLE": "licet_owner"}
    ended = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
    )
    if ended.returncode != 0:
        raise DemoFailed(f"The tables could not be made:\n{ended.stderr[-2000:]}")


def check_ledger() -> None:
    """Say at once what would otherwise only be missed at the end: that the log cannot sign."""
    try:
        guard.check(succession.current("test"))
    except guard.GuardRefused as error:
        raise DemoFailed(str(error)) from error


def build_offline() -> None:
    """Build the verifier that the demonstration hands to the lab."""
    subprocess.run(
        [sys.executable, "-m", "licensing.offline.build"],
        cwd=settings.BASE_DIR,
        check=True,
        capture_output=True,
    )
