"""Full-text search over texts in several languages: one question, asked in each of them."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.postgres.fields import ArrayField
from django.db import connection
from django.db.models import BooleanField, Func, TextField, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast

# PostgreSQL's text search configurations, of version 15 and later. Which language has which is
# said once, in the database: `licet_text_config` (migration 0020).
CONFIGURATIONS = (
    "simple",
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
)
# The longest question that is asked; a longer one finds nothing that a shorter one does not.
LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody searches for, as `tsquery` texts.

    `each` has the question as each configuration reads it; a text is rightly asked in its own.
    `any_of` is true wherever one of them is: an index serves it.
    """

    any_of: str
    each: dict[str, str]

    @property
    def is_empty(self) -> bool:
        """Nothing to search for: stop words in every language, or signs alone."""
        return not self.any_of

    @property
    def excludes(self) -> bool:
        """Whether a word is excluded: then `any_of` alone would let through what one excludes."""
        return "!" in self.any_of


def ask(words: str) -> Question:
    """Read a question as people type it: "a phrase", a OR b, -without. Never a syntax error.

    The language of a question is unknown, so that each configuration reads it: "Häuser" is
    `haus` in German and itself in most others. A word that only some read as a stop word is a
    word in the others.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT config, asked::text
            FROM unnest(%s::text[]) config, websearch_to_tsquery(config::regconfig, %s) asked
            WHERE numnode(asked) > 0
            """,
            [list(CONFIGURATIONS), tidy(words)],
        )
        each: dict[str, str] = dict(cursor.fetchall())
    return Question(" | ".join(f"({one})" for one in sorted(set(each.values()))), each)


def conditions(question: Question, *, vector: Combinable, config: Combinable) -> list[Func]:
    """What `filter` needs to find the rows that a question matches.

    `vector` is their tsvector; `config` names the configuration that made it.
    """
    found = [_match("%(expressions)s::tsquery", vector, Value(question.any_of))]
    if question.excludes:
        names = Value(list(question.each), output_field=ArrayField(TextField()))
        texts = Value(list(question.each.values()), output_field=ArrayField(TextField()))
        place = Func(names, Cast(config, TextField()), function="array_position")
        own = Func(texts, place, template="(%(expressions)s]", arg_joiner="::text[]::tsquery[])[")
        found.append(_match("coalesce(%(expressions)s, false)", vector, own))
    return found


def _match(template: str, vector: Combinable, asked: Combinable) -> Func:
    return Func(vector, asked, template=template, arg_joiner=" @@ ", output_field=BooleanField())


def tidy(words: str) -> str:
    """A question without what no text contains: control characters become spaces."""
    return " ".join("".join(each if each.isprintable() else " " for each in words).split())
