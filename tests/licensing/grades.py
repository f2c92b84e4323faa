"""The reading grade of a text: Flesch-Kincaid, by two ways of counting syllables."""

from __future__ import annotations

import re
from functools import cache

import pyphen

# The goal of reading: Flesch-Kincaid grade 9, of the whole text of a template.
GRADE_MAX = 9.0


@cache
def syllables(word: str) -> int:
    """How many syllables a word has: the most that two ways of counting find.

    Hyphenation points (Liang's patterns) leave some out; groups of vowels count some twice.
    """
    points = len(pyphen.Pyphen(lang="en_US").positions(word)) + 1
    vowels = re.findall("[aeiouy]+", re.sub("e$", "", word.lower()))
    return max(points, len(vowels), 1)


def grade(text: str) -> float:
    """The Flesch-Kincaid grade (Kincaid et al., 1975) of the clauses, without their titles.

    A clause's line ends a sentence, if nothing else does.
    """
    clauses = [line for line in text.splitlines()[1:] if not re.match(r"\d+ ", line)]
    body = "\n".join(re.sub(r"^\d+\.\d+ ", "", line) for line in clauses)
    sentences = [part for part in re.split(r"[.!?]\s|\n", body) if re.search("[A-Za-z]", part)]
    found = re.findall("[A-Za-z][A-Za-z'-]*", body)
    return (
        0.39 * len(found) / len(sentences) + 11.8 * sum(map(syllables, found)) / len(found) - 15.59
    )
