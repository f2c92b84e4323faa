"""A second decision engine, written from the text of the semantics and from nothing else.

It knows no bits, no cells and no shortcuts: a clause is a set of points, a question is the set of
points that it may be (one for each way to complete what it leaves out), and "could change it" is
found out by trying them all. It is slow, and shares no line with `licensing.decisions`.

The text (the design's "Decisions"):

    A clause is matched, unmatched or unknown (dimension missing, or `other`). Within a grant: any
    matched deny -> deny; else a matched permit with no unknown deny -> permit; else anything
    unknown that could change it -> needs_review; else deny. No specificity rule. Across grants of
    one rights layer: the best of permit > needs_review > deny; a deny binds only its own grant.
    Across layers: the worst. Opt-outs, suspensions and holds act on coverage first.

And: a question about a group of countries is one about each of them, and the worst counts. What
was bought narrows the permits: uses, territories, and where one was named the model and release.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

# fmt: off
EU = {
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT",
    "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
}
# fmt: on
RELEASES = ["closed_api", "open_weights", "internal_only"]
FIELDS = ["commercial", "non_commercial", "education", "government", "personal"]
SECTORS = [
    "ads_targeting", "surveillance", "law_enforcement", "competitor_product", "credit_insurance",
    "military", "none",
]  # fmt: skip
LINEAGES = [
    "finetune_of", "distilled_from", "merged_from", "synthetic_from", "embedding_of", "none",
]  # fmt: skip
SERVING = {"retrieve_rag", "ground_display", "search_index", "product_improvement"}
ORDER = ["deny", "needs_review", "permit"]

Point = dict[str, str]


def spell_out(code: str, world: Iterable[str]) -> set[str]:
    """The countries of a small world that a territory stands for."""
    if code == "*":
        return set(world)
    return EU & set(world) if code == "EU" else {code} & set(world)


class Oracle:
    """Answers over a world of a few countries, which stand for all 249."""

    def __init__(self, world: Iterable[str]) -> None:
        self.world = list(world)
        self.values = {
            "territory": self.world,
            "availability": self.world,
            "release": RELEASES,
            "field": FIELDS,
            "sector": SECTORS,
            "lineage": LINEAGES,
        }

    def answer(
        self, question: dict[str, Any], candidates: list[dict[str, Any]], layers: list[str]
    ) -> str:
        """`question`: use, at, and any of the dimensions and name, version, family.

        A candidate: covered_from, reserved, state, ended_at, layer, periods; a period: typed,
        scope, training, use.
        """
        worst = "permit"
        for layer in layers:
            of_layer = [each for each in candidates if each["layer"] == layer]
            for exact in self.one_country_each(question):
                best = "deny"
                for candidate in of_layer:
                    best = max(best, self.of_grant(exact, candidate), key=ORDER.index)
                worst = min(worst, best, key=ORDER.index)
        return worst

    def one_country_each(self, question: dict[str, Any]) -> Iterator[dict[str, Any]]:
        places = [
            sorted(spell_out(question[name], self.world)) if name in question else [None]
            for name in ("territory", "availability")
        ]
        for pair in itertools.product(*places):
            exact = {k: v for k, v in question.items() if k not in ("territory", "availability")}
            exact |= {
                name: place
                for name, place in zip(("territory", "availability"), pair, strict=True)
                if place is not None
            }
            yield exact

    def of_grant(self, question: dict[str, Any], candidate: dict[str, Any]) -> str:
        at = question["at"]
        if candidate["covered_from"] is None or at < candidate["covered_from"]:
            return "deny"
        if candidate["reserved"]:
            return "deny"
        if candidate["state"] == "suspended":
            return "deny"
        if candidate["state"] in ("revoked", "expired"):
            ended_at = candidate["ended_at"]
            if ended_at is None or at >= ended_at:
                return "deny"
        name = "use" if question["use"] in SERVING else "training"
        current = [
            period
            for period in candidate["periods"]
            if period[name][0] <= at and (period[name][1] is None or at < period[name][1])
        ]
        permits = [each for period in current for each in self.permits(period)]
        denies = [each for period in current for each in self.denies(period)]
        answer = self.by_clauses(question, permits, denies)
        if answer == "permit" and not candidate.get("typed_controls", True):
            # The contract's own words control: a human reads them before anything is permitted.
            return "needs_review"
        return answer

    def by_clauses(
        self, question: dict[str, Any], permits: list[dict[str, Any]], denies: list[dict[str, Any]]
    ) -> str:
        seen_permits = [self.status(question, clause) for clause in permits]
        seen_denies = [self.status(question, clause) for clause in denies]
        if "matched" in seen_denies:
            return "deny"
        if "matched" in seen_permits and "unknown" not in seen_denies:
            return "permit"
        # Try every way that things could be: does some way end in a permit? What no clause speaks
        # of makes no difference.
        spoken_of = {name for clause in permits + denies for name in clause["sets"]}
        for point in self.completions(question, sorted(spoken_of)):
            for permit in permits:
                # Free text, the model's name: each could turn out either way, by itself.
                if self.could_hold(point, permit) and not any(
                    self.must_hold(point, deny) for deny in denies
                ):
                    return "needs_review"
        return "deny"

    def status(self, question: dict[str, Any], clause: dict[str, Any]) -> str:
        """Of one clause alone: whether it holds in all completions, in some, or in none."""
        ways = set()
        for point in self.completions(question, [*clause["sets"]]):
            ways.add(self.could_hold(point, clause))
            ways.add(self.must_hold(point, clause))
        if ways == {True}:
            return "matched"
        return "unmatched" if ways == {False} else "unknown"

    def completions(self, question: dict[str, Any], names: Iterable[str]) -> Iterator[Point]:
        """Every point that the question may be, over some of the dimensions."""
        names = list(names)
        ways = [[question[name]] if name in question else self.values[name] for name in names]
        for values in itertools.product(*ways):
            yield {**question, **dict(zip(names, values, strict=True))}

    def could_hold(self, point: Point, clause: dict[str, Any]) -> bool:
        return self.in_sets(point, clause) and self.model(point, clause) is not False

    def must_hold(self, point: Point, clause: dict[str, Any]) -> bool:
        holds = self.in_sets(point, clause) and self.model(point, clause) is True
        return holds and not clause["other"]

    def in_sets(self, point: Point, clause: dict[str, Any]) -> bool:
        if clause["uses"] is not None and point["use"] not in clause["uses"]:
            return False
        return all(point[name] in allowed for name, allowed in clause["sets"].items())

    def model(self, point: Point, clause: dict[str, Any]) -> bool | None:
        """Whether the model is one of the clause's, and the bought one; None: not known."""
        bought = clause.get("bought")
        if bought is None:
            return self.named(point, clause["model"])
        if any(point.get(fact, value) != value for fact, value in bought.items()):
            return False
        # Nothing but the bought model can make the clause hold: would it?
        verdict = self.named({**point, **bought}, clause["model"])
        return None if verdict and not all(fact in point for fact in bought) else verdict

    def named(self, point: Point, rule: Any) -> bool | None:
        """Whether the model is one that the clause itself is for; None where not known."""
        if rule is None:
            return True
        kind, names, successors = rule
        if kind == "up_to_n_models":
            return None
        if kind == "model_family":
            return None if "family" not in point else point["family"] in names
        if kind == "named_model":
            verdict = None if "name" not in point else point["name"] in names
        else:
            verdicts = [self.version(point, entry, successors) for entry in names]
            verdict = True if True in verdicts else None if None in verdicts else False
        if successors == "family" and verdict is False:
            heads = {entry.split("@")[0] for entry in names}
            return True if point.get("family") in heads else None
        return verdict

    def version(self, point: Point, entry: str, successors: str) -> bool | None:
        name, version = entry.split("@")
        if point.get("name", name) != name:
            return False
        if "version" not in point:
            return None
        asked = point["version"]
        holds: bool | None = asked == version
        if successors == "minor_versions" and asked != version:
            try:
                mine = tuple(map(int, version.split(".")))
                theirs = tuple(map(int, asked.split(".")))
                holds = theirs[0] == mine[0] and theirs >= mine
            except ValueError:
                holds = None
        if holds and "name" not in point:
            return None
        return holds

    def permits(self, period: dict[str, Any]) -> Iterator[dict[str, Any]]:
        typed, scope = period["typed"], period["scope"]
        elsewhere = {k: v for k, v in typed.items() if k not in ("permit", "deny")}
        for clause in typed["permit"]:
            uses = set(clause["uses"]) & set(scope["uses"])
            bought = self.places(scope["territories"])
            if typed["v"] == 1:
                sets = {"territory": self.places(clause["territories"]) & bought}
                named = clause["model_scope"] == "named_model"
                model = ("named_model", [clause["model_name"]], "none") if named else None
            else:
                sets = {
                    "territory": self.places(clause["territories"]["training"]) & bought,
                    "availability": self.places(clause["territories"]["availability"]),
                    "release": set(clause["models"]["release"]),
                    "field": set(clause["fields"]),
                }
                kind = clause["models"]["scope"]
                names = clause["models"].get("names", [])
                model = (
                    None
                    if kind == "any_model_of_licensee"
                    else (kind, names, clause["models"]["successors"])
                )
            bought_model = scope.get("model")
            if bought_model is not None:
                sets["release"] = sets.get("release", set(RELEASES)) & {bought_model["release"]}
                bought_model = {k: v for k, v in bought_model.items() if k in ("name", "version")}
            other = bool(clause.get("other")) or "other" in str(elsewhere)
            yield {
                "uses": uses,
                "sets": sets,
                "model": model,
                "bought": bought_model,
                "other": other,
            }

    def denies(self, period: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for clause in period["typed"]["deny"]:
            sets = {}
            for name, key in (("territory", "training"), ("availability", "availability")):
                if key in clause.get("territories", {}):
                    sets[name] = self.places(clause["territories"][key])
            if "release" in clause.get("models", {}):
                sets["release"] = set(clause["models"]["release"])
            for name, key in (("field", "fields"), ("sector", "sectors"), ("lineage", "lineage")):
                if key in clause:
                    sets[name] = set(clause[key])
            yield {
                "uses": set(clause["uses"]) if "uses" in clause else None,
                "sets": sets,
                "model": None,
                "other": bool(clause.get("other")),
            }

    def places(self, codes: Iterable[str]) -> set[str]:
        return set().union(*(spell_out(code, self.world) for code in codes))
