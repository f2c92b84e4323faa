"""How many decisions the engine makes in a second, and how long 100 of them take over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from django.conf import settings

from licensing import clauses, decisions, vocabulary
from licensing.decisions import Answer, Candidate, Decision
from marketplace import access, api_keys, reservations
from marketplace.access import Scope
from marketplace.models import Organization, Representation
from payments import processes
from tests import make
from tests.benchmarks.measure import Figure, median, owner, progress
from tests.licensing import decision_cases
from tests.people import caller_for, found

QUESTIONS = 20_000
ROUNDS = 7
ENGINE_GOAL = 30_000

WORKS = 100_000
GRANTS = 3
ASKED = 100
REQUESTS = 1_000
A_TURN = 25
HTTP_GOAL_MS = 50.0

STARTS = datetime(2027, 1, 1, tzinfo=UTC)
# What a real license says, near enough: three permits, four prohibitions.
_EVERYWHERE = {"training": ["*"], "availability": ["*"]}
_ANY = {"scope": "any_model_of_licensee", "successors": "none"}
TYPED: dict[str, Any] = {
    "v": 2,
    "permit": [
        {
            "uses": ["pretrain", "finetune", "instruction_tune", "evaluate"],
            "territories": {"training": ["EU", "US"], "availability": ["*"]},
            "models": {**_ANY, "release": ["closed_api", "internal_only"]},
            "fields": ["commercial", "non_commercial", "education"],
        },
        {
            "uses": ["retrieve_rag", "embed"],
            "territories": _EVERYWHERE,
            "models": {**_ANY, "release": ["closed_api"]},
            "fields": ["commercial"],
        },
        {
            "uses": ["research_noncommercial", "evaluate"],
            "territories": _EVERYWHERE,
            "models": {
                "scope": "named_model",
                "names": ["Atlas"],
                "release": list(clauses.RELEASES),
                "successors": "none",
            },
            "fields": ["non_commercial", "education"],
        },
    ],
    "deny": [
        {"sectors": ["surveillance", "military"]},
        {"uses": ["distill", "synthetic_data"]},
        {"lineage": ["distilled_from"]},
        {"territories": {"availability": ["KP", "IR"]}},
    ],
}
BOUGHT = {
    "uses": ["pretrain", "finetune", "evaluate", "retrieve_rag", "embed"],
    "territories": ["*"],
}


def run(quick: bool) -> Iterator[Figure]:
    yield from _engine(QUESTIONS // 10 if quick else QUESTIONS)
    yield from _over_http(
        works=WORKS // 10 if quick else WORKS, requests=REQUESTS // 10 if quick else REQUESTS
    )


# --- the engine -------------------------------------------------------------------------------

Asked = tuple[clauses.Question, list[Candidate], list[str]]


def _engine(count: int) -> Iterator[Figure]:
    """Processor time alone: no two of the questions are the same, and nothing is remembered."""
    random = Random(1)
    asked = [_question(random, number) for number in range(count)]
    assert len(set(asked)) == count, "not distinct"
    grant = _grant()
    candidates = [Candidate(grant, STARTS)]
    yield _rate(
        "decisions under one license, distinct",
        [(question, candidates, ["all"]) for question in asked],
        goal=ENGINE_GOAL,
    )
    # Of the tests: terms made to be hard, 0 to 3 grants each, half of them about whole groups of
    # countries.
    made = [decision_cases.case(Random(seed)) for seed in range(count // 4)]
    yield _rate(
        "decisions under random terms, 0 to 3 grants",
        [
            (
                decision_cases.to_question(case["question"]),
                [
                    decision_cases.to_candidate(each, f"grt_{place}")
                    for place, each in enumerate(case["candidates"])
                ],
                case["layers"],
            )
            for case in made
        ],
    )


def _grant() -> decisions.Grant:
    ends = STARTS + timedelta(days=365)
    compiled = clauses.compile_terms(TYPED, BOUGHT, has_duties=False)
    return decisions.Grant("grt_1", (decisions.Period(compiled, (STARTS, ends), (STARTS, None)),))


def _question(random: Random, number: int) -> clauses.Question:
    """About a third each: permitted, outside the permits, prohibited or needing review."""
    countries = sorted(vocabulary.COUNTRY_NUMBERS)
    return clauses.ask(
        use=random.choice([*BOUGHT["uses"], *BOUGHT["uses"], "distill"]),
        at=STARTS + timedelta(seconds=number),
        territory=random.choice(["DE", "FR", "US", "US", random.choice(countries)]),
        availability=random.choice(countries),
        model=clauses.Model("Atlas", f"1.{number}", "Atlas"),
        release=random.choice(["closed_api", "closed_api", "internal_only", "open_weights"]),
        field=random.choice(["commercial", "commercial", "education", "personal"]),
        sector=random.choice(["none"] * 15 + [*clauses.SECTORS]),
        lineage=random.choice(["none"] * 15 + [None, *clauses.LINEAGES]),
    )


def _rate(figure: str, asked: list[Asked], *, goal: int | None = None) -> Figure:
    """Against a loop that does no more than make an answer for each."""
    ours, bare = [], []
    answers: Counter[Answer] = Counter()
    for round_ in range(ROUNDS):
        started = time.process_time()
        for question, _candidates, _layers in asked:
            Decision(Answer.DENY, "grt_1", "2.1", reasons=(decisions.Reason(decisions.Code.HELD),))
            assert question.missing >= 0
        bare.append(len(asked) / (time.process_time() - started))
        started = time.process_time()
        found = [
            decisions.decide(question, candidates, layers=layers)
            for question, candidates, layers in asked
        ]
        ours.append(len(asked) / (time.process_time() - started))
        answers = Counter(decision.answer for decision in found)
        progress(f"{figure}: round {round_ + 1}/{ROUNDS}: {ours[-1]:,.0f} in a processor second")
    progress(f"{figure}: {', '.join(f'{n:,} {each.word}' for each, n in sorted(answers.items()))}")
    value = median(ours)
    return Figure(
        figure=figure,
        value=value,
        unit="decisions/core-second",
        limit=median(bare),
        ratio=median(mine / limit for mine, limit in zip(ours, bare, strict=True)),
        goal=None if goal is None else f"value >= {goal:,}",
        holds=None if goal is None else value >= goal,
    )


# --- over HTTP --------------------------------------------------------------------------------


def _over_http(*, works: int, requests: int) -> Iterator[Figure]:
    """One client, one connection; by turns with the same client's smallest question."""
    lab = found("Lab", "lab")
    digests = _market(lab, works)
    _key, secret = api_keys.create(
        caller_for(lab), name="measured", scopes=[Scope.DECISIONS_READ.value]
    )
    random = Random(2)
    with (
        _served() as (port, server),
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as to,
    ):
        ours, least = _Side(to, secret, server), _Side(to, secret, server)
        for turn in range(requests // A_TURN + 1):
            asked = [_works(random, digests) for _ in range(A_TURN)]
            is_measured = turn > 0  # after the first, which warms up
            least.ask([of[:1] for of in asked], is_measured=is_measured)
            ours.ask(asked, is_measured=is_measured)
            if turn % 10 == 0:
                progress(f"decide: {turn * A_TURN}/{requests} requests")
    progress(f"decide: {dict(ours.answers)}, p50 {ours.percentile(50):.1f} ms")
    slow, limit = ours.percentile(99), least.percentile(99)
    yield Figure(
        figure=f"decide, {ASKED} works of {works:,} over HTTP, p99",
        value=slow,
        unit="ms",
        limit=limit,
        ratio=limit / slow,
        goal=f"value <= {HTTP_GOAL_MS:g} ms",
        holds=slow <= HTTP_GOAL_MS,
    )
    yield Figure(
        figure=f"decide, {ASKED} works of {works:,}, processor time of server and database",
        value=median(ours.cpu) * 1000,
        unit="ms/request",
        limit=median(least.cpu) * 1000,
        ratio=median(b / o for o, b in zip(ours.cpu, least.cpu, strict=True)),
    )


def _works(random: Random, digests: list[bytes]) -> list[str]:
    """Five of a hundred are of nobody."""
    licensed = [digest.hex() for digest in random.sample(digests, ASKED - 5)]
    return licensed + [random.randbytes(32).hex() for _ in range(5)]


class _Side:
    """What requests of one kind cost: seconds each, and processor seconds each, by turns."""

    def __init__(self, to: http.client.HTTPConnection, secret: str, server: int) -> None:
        self._to = to
        self._secret = secret
        self._server = server
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.answers: Counter[str] = Counter()

    def ask(self, asked: list[list[str]], *, is_measured: bool) -> None:
        before = _cpu_seconds(self._server)
        found = [_ask(self._to, self._secret, works) for works in asked]
        spent = _cpu_seconds(self._server) - before
        if is_measured:
            self.cpu.append(spent / len(asked))
            self.seconds += [seconds for seconds, _ in found]
            for _, summary in found:
                self.answers.update(summary)

    def percentile(self, percent: int) -> float:
        """In milliseconds."""
        ordered = sorted(self.seconds)
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] * 1000


def _cpu_seconds(server: int) -> float:
    """Of all threads of a process and its children, and of all backends of the database."""
    with owner() as opened:
        rows = opened.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    pids = {server, *(pid for (pid,) in rows)}
    for children in Path("/proc", str(server), "task").glob("*/children"):
        pids |= {int(pid) for pid in children.read_text().split()}
    # Exact, and of one thread each.
    return sum(
        int(thread.read_text().split()[0]) / 1e9
        for pid in pids
        for thread in Path("/proc", str(pid), "task").glob("*/schedstat")
    )


def _market(lab: Organization, works: int) -> list[bytes]:
    """Three grants of one large collection, of which one work in a hundred is opted out."""
    archive = found("Archive", "platform")
    collection = make.make_collection(archive, works=works)
    for number in range(GRANTS):
        typed = {**make.TYPED, "output": {"max_verbatim_words": 200 + number}}
        offer = make.make_offer(archive, price_minor=0, typed=typed, collection=collection)
        make.issue_grant(lab, offer)
    with access.system("look up works in a test"):
        rows = Representation.objects.filter(organization=archive).order_by("id")
        digests = [bytes(digest) for digest in rows.values_list("digest", flat=True)]
        reservations.reserve(
            digests[::100], organization=archive.pk, reason="opted_out", cause="opt_measured"
        )
    return digests


@contextlib.contextmanager
def _served() -> Iterator[tuple[int, int]]:
    """The web process, as `processes` starts it, with nothing else: its port and its process."""
    [port] = processes.free_ports(1)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "marketplace.settings"}
    log = Path(settings.DATA_DIR, "web.log")
    with log.open("wb") as file:
        running = subprocess.Popen(
            processes.served(port, threads=processes.WEB_THREADS),
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(port, running, log)
        yield port, running.pid
    finally:
        running.terminate()
        running.wait(timeout=processes.STOP_WITHIN_SECONDS)


def _wait_for(port: int, running: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + processes.READY_WITHIN_SECONDS
    while time.monotonic() < deadline and running.poll() is None:
        with (
            contextlib.suppress(OSError),
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as to,
        ):
            to.request("GET", "/health")
            if to.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the web process did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _ask(
    to: http.client.HTTPConnection, secret: str, works: list[str]
) -> tuple[float, dict[str, int]]:
    body = json.dumps({"question": {"use": "pretrain", "territory": "EU"}, "works": works})
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    started = time.perf_counter()
    to.request("POST", "/v1/decisions", body, headers)
    answer = to.getresponse()
    data = answer.read()
    seconds = time.perf_counter() - started
    assert answer.status == 200, data[:500]
    summary: dict[str, int] = json.loads(data)["summary"]
    return seconds, summary
