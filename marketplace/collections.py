"""Collections: made, attested, and what is taken out of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db import IntegrityError, connection, transaction
from django.db.models import Func, IntegerField, OuterRef, QuerySet
from django.utils.translation import gettext as _

from marketplace import audit, full_text, idempotency, metadata, reservations
from marketplace.access import Caller, acting
from marketplace.errors import DuplicateExternalId, InvalidInput
from marketplace.models import Attestation, Collection, CollectionItem, Representation
from marketplace.models.collections import READ_AS, SEARCHED

# What other apps do in the transaction that changes what is said of a collection. They add to it
# when they start, since nothing here knows them.
DESCRIBED: list[Callable[[Collection], None]] = []
LANGUAGES_MAX = 100
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


def create(
    caller: Caller,
    *,
    name: str,
    description: str = "",
    notice: str = "",
    external_id: str = "",
    source_url: str = "",
    languages: Sequence[str] = (),
    notes: metadata.Notes | None = None,
) -> Collection:
    """Start an empty collection. Raises InvalidInput, DuplicateExternalId."""
    if not name.strip():
        raise InvalidInput(_("Give the collection a name."), param="name")
    check_languages(languages)
    with acting(caller):
        collection = Collection(
            organization=caller.organization,
            name=name.strip(),
            description=description,
            notice=notice,
            external_id=external_id,
            source_url=source_url,
            languages=list(languages),
        )
        try:
            # Without a reference of its own there is nothing that it could collide with.
            with transaction.atomic() if external_id else nullcontext():
                collection.save(force_insert=True)
        except IntegrityError:
            raise DuplicateExternalId(
                _("There is a collection “%(id)s” already.") % {"id": external_id},
                param="external_id",
            ) from None
        metadata.begin(caller, collection, notes)
        audit.record(caller, "collection.created", subject=collection)
        idempotency.names(caller, collection)
    return collection


def make_part(
    caller: Caller,
    whole: Collection,
    *,
    name: str,
    forms: Sequence[Representation],
    units: Mapping[int, Mapping[str, int]],
) -> Collection:
    """Start a collection of some representations that another one holds, or held.

    `units` says how the whole counts them, by the representation's key. In the caller's
    transaction. What happens to the whole afterwards leaves the part as it is.
    """
    assert connection.in_atomic_block, "A part commits with what it was made for."
    part = Collection(
        organization=caller.organization,
        name=name,
        notice=whole.notice,
        languages=whole.languages,
    )
    part.save(force_insert=True)
    # The database numbers it.
    part.refresh_from_db(fields=["number"])
    CollectionItem.objects.bulk_create(
        [
            CollectionItem(
                organization=caller.organization,
                collection=part,
                work_id=form.work_id,
                representation=form,
                added_in=part.next_snapshot,
                units=units[form.pk],
            )
            for form in forms
        ]
    )
    audit.record(caller, "collection.created", subject=part, part_of=str(whole.pk))
    return part


def describe(
    caller: Caller, id: str, *, languages: Sequence[str] | None = None, **fields: str
) -> Collection:
    """Change what describes a collection, as its owner or an editor of a share.

    `caller` is who `sharing.editor` says. What was offered or sold keeps its snapshot. Raises
    NotFound, InvalidInput.
    """
    if not fields.get("name", "-").strip():
        raise InvalidInput(_("Give the collection a name."), param="name")
    said: dict[str, Any] = {name: text.strip() for name, text in fields.items()}
    if languages is not None:
        check_languages(languages)
        said["languages"] = list(languages)
    with acting(caller):
        collection = Collection.objects.owned_by(caller).get_visible(caller, id, lock=True)
        changed = sorted(name for name in said if getattr(collection, name) != said[name])
        for name in changed:
            setattr(collection, name, said[name])
        if changed:
            collection.save(update_fields=changed)
            for follow in DESCRIBED:
                follow(collection)
            audit.record(caller, "collection.described", subject=collection, changed=changed)
        idempotency.names(caller, collection)
    return collection


def matching(rows: QuerySet[Collection], words: str) -> QuerySet[Collection]:
    """Those of some collections whose name or description has words, however inflected.

    Raises InvalidInput for a question that is too long.
    """
    if len(words) > full_text.LENGTH_MAX:
        raise InvalidInput(
            _("Search for fewer words: up to %(max)s characters.") % {"max": full_text.LENGTH_MAX},
            param="q",
        )
    question = full_text.ask(words)
    if question.is_empty:
        return rows.none()
    return rows.filter(*full_text.conditions(question, vector=SEARCHED, config=READ_AS))


def check_languages(languages: Sequence[str]) -> None:
    """Raises InvalidInput, unless they are a few different BCP 47 tags."""
    if len(languages) > LANGUAGES_MAX or len(set(languages)) < len(languages):
        raise InvalidInput(
            _("Name each language once, and up to %(max)s.") % {"max": LANGUAGES_MAX},
            param="languages",
        )
    for tag in languages:
        if len(tag) > 35 or not _LANGUAGE.fullmatch(tag):
            raise InvalidInput(
                _("“%(tag)s” is no BCP 47 tag, such as “de” or “pt-BR”.") % {"tag": tag[:40]},
                param="languages",
            )


def by_external_id(caller: Caller, external_id: str) -> Collection | None:
    """The collection that the caller's own catalog calls so, inside the caller's transaction."""
    return Collection.objects.owned_by(caller).filter(external_id=external_id).first()


def attest(
    caller: Caller,
    id: str,
    *,
    basis: str,
    license_name: str = "",
    statement: str,
    person_name: str,
    person_title: str,
    authority: bool,
) -> Attestation:
    """Record a person's statement of why the organization may license the collection.

    Insert-only: the newest one counts. Raises NotFound, InvalidInput.
    """
    if basis not in Attestation.Basis.values:
        raise InvalidInput(
            _("Use one of: %(known)s.") % {"known": ", ".join(Attestation.Basis.values)},
            param="basis",
        )
    if basis == Attestation.Basis.OPEN_LICENSE and not license_name.strip():
        raise InvalidInput(
            _("Name the open license, by its SPDX identifier where it has one."),
            param="license_name",
        )
    for param, text in (
        ("statement", statement),
        ("person_name", person_name),
        ("person_title", person_title),
    ):
        if not text.strip():
            raise InvalidInput(_("This may not be blank."), param=param)
    if authority is not True:
        raise InvalidInput(
            _("Only somebody with authority to bind the organization can attest."),
            param="authority",
        )
    with acting(caller):
        collection = Collection.objects.owned_by(caller).get_visible(caller, id)
        attestation = Attestation(
            organization=caller.organization,
            collection=collection,
            basis=basis,
            license_name=license_name.strip(),
            statement=statement.strip(),
            person_name=person_name.strip(),
            person_title=person_title.strip(),
            actor=caller.actor,
        )
        attestation.save(force_insert=True)
        audit.record(caller, "collection.attested", subject=collection, basis=basis)
        idempotency.names(caller, attestation)
    return attestation


def attestation(collection: Collection) -> Attestation | None:
    """The attestation that counts: the newest. Read as the owner, inside its transaction."""
    return Attestation.objects.filter(collection=collection).order_by("-id").first()


def attestations(caller: Caller, id: str) -> QuerySet[Attestation]:
    """All attestations of one of the caller's collections. Raises NotFound."""
    collection = Collection.objects.owned_by(caller).get_visible(caller, id)
    return Attestation.objects.visible_to(caller).filter(collection=collection)


# Who lists collections need not know whether one has a million works or two.
SIZE_SHOWN_MAX = 1_000


def with_sizes(rows: QuerySet[Collection]) -> QuerySet[Collection]:
    """The same collections with `size`: how many works are in each, counted to one over 1,000."""
    items = CollectionItem.objects.filter(
        organization=OuterRef("organization"),
        collection=OuterRef("number"),
        removed_in__isnull=True,
    )
    # In the order of the index over live items. Without it, where most works are in one collection,
    # PostgreSQL reads the whole table for each of the others: 8 s for a page of 50.
    counted = items.order_by("representation_id").values("id")[: SIZE_SHOWN_MAX + 1]
    return rows.annotate(
        size=Func(ArraySubquery(counted), function="cardinality", output_field=IntegerField())
    )


def remove(caller: Caller, id: str, *, digests: Iterable[bytes]) -> int:
    """Take representations out of the next snapshot. Those made before keep them.

    Returns how many were taken out; repeating it finds none.
    """
    with acting(caller):
        # Locked against a snapshot that is being made: `next_snapshot` must not move meanwhile.
        collection = Collection.objects.owned_by(caller).get_visible(caller, id, lock=True)
        return _remove(collection, list(digests))


def remove_reserved(collection: Collection) -> int:
    """Take out of the next snapshot what may not be licensed, in the caller's transaction.

    The collection's row is locked by the caller. Returns how many were taken out.
    """
    reserved = reservations.at(collection.organization_id).values("digest")
    return _remove(collection, reserved)


def _remove(collection: Collection, digests: list[bytes] | QuerySet[Any, Any]) -> int:
    return CollectionItem.objects.filter(
        collection=collection,
        representation__organization=collection.organization_id,
        representation__digest__in=digests,
        removed_in__isnull=True,
    ).update(removed_in=collection.next_snapshot)
