"""Collections: made, attested, and what is taken out of them."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.postgres.expressions import ArraySubquery
from django.db import IntegrityError, transaction
from django.db.models import Func, IntegerField, OuterRef, QuerySet
from django.utils.translation import gettext as _

from marketplace import audit, idempotency
from marketplace.access import Caller, acting
from marketplace.errors import DuplicateExternalId, InvalidInput
from marketplace.models import Attestation, Collection, CollectionItem


def create(
    caller: Caller,
    *,
    name: str,
    description: str = "",
    notice: str = "",
    external_id: str = "",
    source_url: str = "",
) -> Collection:
    """Start an empty collection. Raises InvalidInput, DuplicateExternalId."""
    if not name.strip():
        raise InvalidInput(_("Give the collection a name."), param="name")
    with acting(caller):
        collection = Collection(
            organization=caller.organization,
            name=name.strip(),
            description=description,
            notice=notice,
            external_id=external_id,
            source_url=source_url,
        )
        try:
            with transaction.atomic():
                collection.save(force_insert=True)
        except IntegrityError:
            raise DuplicateExternalId(
                _("There is a collection “%(id)s” already.") % {"id": external_id},
                param="external_id",
            ) from None
        audit.record(caller, "collection.created", subject=collection)
        idempotency.names(caller, collection)
    return collection


def describe(caller: Caller, id: str, **fields: str) -> Collection:
    """Change a collection's name, description or notice, as its owner or an editor of a share.

    `caller` is who `sharing.editor` says. What was offered or sold keeps its snapshot. Raises
    NotFound, InvalidInput.
    """
    if not fields.get("name", "-").strip():
        raise InvalidInput(_("Give the collection a name."), param="name")
    with acting(caller):
        collection = Collection.objects.owned_by(caller).get_visible(caller, id, lock=True)
        changed = sorted(name for name in fields if getattr(collection, name) != fields[name])
        for name in changed:
            setattr(collection, name, fields[name].strip())
        if changed:
            collection.save(update_fields=changed)
            audit.record(caller, "collection.described", subject=collection, changed=changed)
        idempotency.names(caller, collection)
    return collection


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
    ).values("id")[: SIZE_SHOWN_MAX + 1]
    return rows.annotate(
        size=Func(ArraySubquery(items), function="cardinality", output_field=IntegerField())
    )


def remove(caller: Caller, id: str, *, digests: Iterable[bytes]) -> int:
    """Take representations out of the next snapshot. Those made before keep them.

    Returns how many were taken out; repeating it finds none.
    """
    with acting(caller):
        # Locked against a snapshot that is being made: `next_snapshot` must not move meanwhile.
        collection = Collection.objects.owned_by(caller).get_visible(caller, id, lock=True)
        return CollectionItem.objects.filter(
            collection=collection,
            representation__organization=caller.organization,
            representation__digest__in=list(digests),
            removed_in__isnull=True,
        ).update(removed_in=collection.next_snapshot)
