"""The reference of typed terms, version 2, written from the table that reads them.

python -m api_docs.typed_terms > api_docs/typed_terms.md
"""

from __future__ import annotations

from collections.abc import Iterator

from licensing import terms_schema as schema

_HEAD = """# Typed terms, version 2

Made from `licensing/terms_schema.py` by `make openapi`. Every part is required: a contract has no \
silent defaults, and most parts have a short form that says “none”. `other`, where it stands, \
holds the parties' own words: a human reads them, always, and no quote is given without the \
seller's approval. Version 1 stays readable for ever; its shape is in the API's document.

`permit[n]` is clause 2.(n + 1) of the text, `deny[n]` clause 3.(n + 1). What no clause permits is \
not allowed; a clause of `deny` holds where all that it names comes together, and against every \
permission. Contradictions are refused at their place; what is odd is shown as a warning.
"""


def page() -> str:
    """The whole page, in Markdown."""
    lines = [_HEAD]
    for name, member in schema.ROOT.fields.items():
        kind = member.kind.of if isinstance(member.kind, schema.Objects) else member.kind
        assert isinstance(kind, schema.Object)
        listed = " (a list)" if isinstance(member.kind, schema.Objects) else ""
        lines += [f"## `{name}`{listed}", "", member.says, ""]
        lines += ["| field | what it may be | what it says |", "|---|---|---|"]
        lines += [f"| `{path}` | {what} | {says} |" for path, what, says in _rows(kind)]
        lines.append("")
    return "\n".join(lines)


def _rows(kind: schema.Object, path: str = "") -> Iterator[tuple[str, str, str]]:
    for name, member in {**kind.fields, **kind.optional}.items():
        here = f"{path}{name}"
        says = member.says
        if name in kind.optional and name != "other":
            says += " May be left out."
        if member.beside is not None:
            other, words = member.beside
            says += f" Beside `{other}` {', '.join(f'`{word.value}`' for word in words)} only."
        if isinstance(member.kind, schema.Object):
            yield from _rows(member.kind, f"{here}.")
        elif isinstance(member.kind, schema.Objects):
            yield here, f"a list of {member.kind.least} to {member.kind.most}", says
            yield from _rows(member.kind.of, f"{here}[].")
        elif name != "other":
            yield here, _what(member.kind), says


def _what(kind: schema.Kind) -> str:
    match kind:
        case schema.Word(words):
            return ", ".join(f"`{word.value}`" for word in words)
        case schema.Words(words, least):
            some = "one or more of " if least else "any of "
            return some + ", ".join(f"`{word.value}`" for word in words)
        case schema.Whole(least, most, null):
            return f"{least:,} to {most:,}" + (f", or null: {null}" if null else "")
        case schema.Names():
            return "names" + (f" as in “{kind.example}”" if kind.example else "")
        case schema.Territories():
            return "ISO 3166-1 alpha-2, `EU`, `*`"
        case schema.Law():
            return "ISO 3166-1 alpha-2, ISO 3166-2, or null: none is chosen"
        case _:
            raise TypeError(kind)


if __name__ == "__main__":
    print(page(), end="")
