"""Changes of many works at once: counted before, carried out in batches, each work once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, collections, organizations
from marketplace.access import Caller, acting, system
from marketplace.errors import ImportEnded, InvalidInput
from marketplace.models import BulkEdit, Collection
from marketplace.typeid import TypeID
from marketplace.works import can_be_stored

Status = BulkEdit.Status
BATCH_LENGTH = 5_000
# Named one by one; more are chosen by what they have in common.
NAMED_MAX = 1_000
# Who made a work is said once, when it comes in: snapshots commit to it.
CHANGES = ("language", "title_prefix")
FILTERS = ("works", "language", "external_id_prefix")
_PREFIX_LENGTH_MAX = 200
_TITLE_LENGTH_MAX = 1000

# Of a work with several forms in the collection, the first one stands for it: it is seen once.
_WORKS = """
    SELECT item.work_id, item.representation_id
    FROM marketplace_collectionitem item
    WHERE item.collection_number = %(collection)s AND item.removed_in IS NULL
        AND item.representation_id > %(after)s
        AND NOT EXISTS (
            SELECT FROM marketplace_representation other
            JOIN marketplace_collectionitem lives
                ON lives.collection_number = %(collection)s AND lives.removed_in IS NULL
                AND lives.representation_id = other.id
            WHERE other.work_id = item.work_id AND other.id < item.representation_id
        )
"""
_MEANT = """
    work.organization_id = %(organization)s
    AND (%(works)s::uuid[] IS NULL OR work.id = ANY(%(works)s::uuid[]))
    AND (%(language)s::text IS NULL OR work.language = %(language)s::text)
    AND (%(external_id_prefix)s::text IS NULL
        OR starts_with(work.external_id, %(external_id_prefix)s::text))
"""
# Which works a change changes, and how. What has it already is left as it is.
_APPLIES = {
    "language": "work.language <> %(value)s::text",
    "title_prefix": "NOT starts_with(work.title, %(value)s::text)"
    f" AND length(work.title) + length(%(value)s::text) <= {_TITLE_LENGTH_MAX}",
}
_SETS = {
    "language": "language = %(value)s::text",
    "title_prefix": "title = %(value)s::text || work.title",
}


def preview(
    caller: Caller,
    collection_id: str,
    *,
    change: Mapping[str, str],
    selection: Mapping[str, Any] | None = None,
) -> int:
    """How many works of a collection such an edit would change. Raises NotFound, InvalidInput."""
    with acting(caller, writing=False):
        collection = Collection.objects.editable_by(caller).get_visible(caller, collection_id)
        name, names = _names(caller, collection, change, selection or {})
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT count(*) FROM ({_WORKS}) page"
                " JOIN marketplace_work work ON work.id = page.work_id"
                f" WHERE {_MEANT} AND {_APPLIES[name]}",
                {**names, "after": 0},
            )
            return int((cursor.fetchone() or (0,))[0])


def ask(
    caller: Caller,
    collection_id: str,
    *,
    change: Mapping[str, str],
    selection: Mapping[str, Any] | None = None,
) -> BulkEdit:
    """Have the worker set one thing in the works of one of the caller's own collections.

    `change` is one of `language` (BCP 47, "" for none) and `title_prefix`. `selection` names up to
    1,000 works, or what they have in common. Raises NotFound, InvalidInput.
    """
    with acting(caller):
        collection = Collection.objects.owned_by(caller).get_visible(caller, collection_id)
        _names(caller, collection, change, selection or {})
        edit = BulkEdit(
            organization=caller.organization,
            collection=collection,
            change=dict(change),
            selection={
                name: [str(one) for one in value] if name == "works" else value
                for name, value in (selection or {}).items()
            },
            requested_by=caller.actor,
        )
        edit.save(force_insert=True)
        audit.record(
            caller,
            "works.edit_asked",
            subject=edit,
            collection=str(collection.pk),
            change=list(change),
        )
    return edit


def cancel(caller: Caller, id: str) -> BulkEdit:
    """End an edit that goes on. What it changed stays. Raises NotFound, ImportEnded."""
    with acting(caller):
        edit = BulkEdit.objects.get_visible(caller, id, lock=True)
        if edit.status == Status.FINISHED:
            raise ImportEnded(_("The edit is finished."), bulk_edit=str(edit.pk))
        if edit.status == Status.RUNNING:
            _end(caller, edit, Status.CANCELED)
    return edit


def carry_out_due() -> int:
    """Carry out one batch of the oldest edit that goes on. Returns how many works it looked at.

    The batch and the place that it came to commit together; two workers never take the same.
    """
    with system("find the oldest edit of everybody's works"):
        due = BulkEdit.objects.filter(status=Status.RUNNING).select_related("organization")
        found = due.order_by("id").first()
    if found is None:
        return 0
    caller = organizations.operator(found.organization)
    with acting(caller):
        edit = (
            BulkEdit.objects.filter(pk=found.pk, status=Status.RUNNING)
            .select_related("collection")
            .select_for_update(of=("self",), skip_locked=True)
            .first()
        )
        if edit is None:
            return 0
        name, names = _names(caller, edit.collection, edit.change, edit.selection)
        return _batch(caller, edit, name, names)


def _batch(caller: Caller, edit: BulkEdit, name: str, names: Mapping[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH page AS MATERIALIZED ({_WORKS} ORDER BY item.representation_id LIMIT %(most)s),"
            f" changed AS (UPDATE marketplace_work work SET {_SETS[name]} FROM page"
            f" WHERE work.id = page.work_id AND {_MEANT} AND {_APPLIES[name]} RETURNING 1)"
            " SELECT (SELECT count(*) FROM page), (SELECT max(representation_id) FROM page),"
            " (SELECT count(*) FROM changed)",
            {**names, "after": edit.done_until, "most": BATCH_LENGTH},
        )
        seen, last, changed = cursor.fetchone() or (0, None, 0)
    edit.looked_at += seen
    edit.changed += changed
    edit.done_until = last or edit.done_until
    edit.save(update_fields=["looked_at", "changed", "done_until"])
    if seen < BATCH_LENGTH:
        _end(caller, edit, Status.FINISHED)
    return int(seen)


def _end(caller: Caller, edit: BulkEdit, status: str) -> None:
    edit.status, edit.finished_at = status, timezone.now()
    edit.save(update_fields=["status", "finished_at"])
    audit.record(
        caller,
        "works.edit_finished" if status == Status.FINISHED else "works.edit_canceled",
        subject=edit,
        changed=edit.changed,
    )


def _names(
    caller: Caller,
    collection: Collection,
    change: Mapping[str, str],
    selection: Mapping[str, Any],
) -> tuple[str, dict[str, Any]]:
    """Which change it is, and what the statements take. Raises InvalidInput."""
    if len(change) != 1 or not set(change).issubset(CHANGES):
        raise InvalidInput(
            _("Change exactly one of: %(known)s.") % {"known": ", ".join(CHANGES)}, param="change"
        )
    [(name, value)] = change.items()
    unknown = set(selection) - set(FILTERS)
    if unknown or ("works" in selection and len(selection) > 1):
        raise InvalidInput(
            _("Name works, or say what they have in common: %(known)s.")
            % {"known": ", ".join(FILTERS)},
            param="selection",
        )
    return name, {
        "organization": caller.organization.pk,
        "collection": collection.number,
        "value": _value(name, value),
        "works": _works(selection["works"]) if "works" in selection else None,
        "language": _text(selection.get("language"), "selection.language"),
        "external_id_prefix": _text(
            selection.get("external_id_prefix"), "selection.external_id_prefix"
        ),
    }


def _value(name: str, value: Any) -> str:
    text = _text(value, f"change.{name}") or ""
    if name == "language":
        if text:
            collections.check_languages([text])
        return text
    if not text or len(text) > _PREFIX_LENGTH_MAX:
        raise InvalidInput(
            _("Use 1 to %(max)s characters.") % {"max": _PREFIX_LENGTH_MAX},
            param="change.title_prefix",
        )
    return text


def _works(named: Any) -> list[Any]:
    if not isinstance(named, list) or not 0 < len(named) <= NAMED_MAX:
        raise InvalidInput(
            _("Name 1 to %(max)s works.") % {"max": NAMED_MAX}, param="selection.works"
        )
    try:
        return [TypeID.parse("wrk", str(one)) for one in named]
    except ValueError:
        raise InvalidInput(_("Name works by their ids (wrk_…)."), param="selection.works") from None


def _text(value: Any, param: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not can_be_stored(value) or len(value) > 1000:
        raise InvalidInput(_("Use up to 1,000 characters of text."), param=param)
    return value
