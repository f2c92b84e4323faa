"""Finalized snapshots and published terms name their ledger entries.

What is older has none, and gets none: an entry made today would date it to today. So the columns
are nullable and their checks stay NOT VALID, which leaves the old rows as they are and holds every
row that is written from now on. (A check by a date would trust a column that the application
writes.) Neither kind of row ever changes once it is finalized or published, so no old one is ever
checked.
"""

from __future__ import annotations

from typing import Any

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

_COLUMNS = [("snapshot", "snapshot_ref"), ("terms", "terms_ref")]

# The unique constraints come in 0097 and 0098, from indexes that are built beside writers.
_ADD = "".join(
    f"ALTER TABLE licensing_{table} ADD COLUMN {ref} bytea NULL, ADD COLUMN entry_id bigint NULL;"
    f"ALTER TABLE licensing_{table} ADD CONSTRAINT {table}_entry_is_in_the_ledger"
    " FOREIGN KEY (entry_id) REFERENCES licensing_ledgerentry (id)"
    " DEFERRABLE INITIALLY DEFERRED NOT VALID;"
    for table, ref in _COLUMNS
)
_DROP = "".join(
    f"ALTER TABLE licensing_{table} DROP COLUMN {ref}, DROP COLUMN entry_id;"
    for table, ref in _COLUMNS
)

# No entry without its subject, as for grants and opt-outs. A stand-in counts for an entry that came
# back from a log's copy and has its place.
_SUBJECT = """
CREATE FUNCTION catalogue_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.kind = 'snapshot.finalized' AND EXISTS (
        SELECT FROM licensing_snapshot
        WHERE entry_id = NEW.id AND snapshot_ref = NEW.subject_ref
    ) OR NEW.kind = 'terms.published' AND EXISTS (
        SELECT FROM licensing_terms
        WHERE entry_id = NEW.id AND terms_ref = NEW.subject_ref AND published_at IS NOT NULL
    ) OR EXISTS (
        SELECT FROM licensing_ledgerrecovered recovered
        JOIN licensing_ledgerleaf leaf ON leaf.entry_id = recovered.entry_id
        WHERE recovered.entry_id = NEW.id
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'catalogue_entry_has_its_subject';
END $$;
CREATE CONSTRAINT TRIGGER catalogue_entry_has_its_subject AFTER INSERT ON licensing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (starts_with(NEW.kind, 'snapshot.') OR starts_with(NEW.kind, 'terms.'))
    EXECUTE FUNCTION catalogue_entry_has_its_subject();
ALTER TABLE licensing_ledgerentry ENABLE ALWAYS TRIGGER catalogue_entry_has_its_subject;
"""
_SUBJECT_UNDONE = """
DROP TRIGGER catalogue_entry_has_its_subject ON licensing_ledgerentry;
DROP FUNCTION catalogue_entry_has_its_subject();
"""


def _entry() -> models.Field[Any, Any]:
    return models.OneToOneField(
        null=True,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="licensing.ledgerentry",
    )


def _ref() -> models.Field[Any, Any]:
    return models.BinaryField(max_length=16, null=True, unique=True)


class Migration(migrations.Migration):
    dependencies = [("licensing", "0095_status_walls")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(_ADD, _DROP)],
            state_operations=[
                migrations.AddField("snapshot", "snapshot_ref", _ref()),
                migrations.AddField("snapshot", "entry", _entry()),
                migrations.AddField("terms", "terms_ref", _ref()),
                migrations.AddField("terms", "entry", _entry()),
            ],
        ),
        AddConstraintNotValid(
            model_name="snapshot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("entry__isnull", False),
                    ("snapshot_ref__isnull", False),
                    django.db.models.lookups.Exact(
                        django.db.models.functions.text.Length("snapshot_ref"), 16
                    ),
                ),
                name="snapshot_is_recorded",
            ),
        ),
        AddConstraintNotValid(
            model_name="terms",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("entry__isnull", True),
                        ("published_at__isnull", True),
                        ("terms_ref__isnull", True),
                    ),
                    models.Q(
                        ("entry__isnull", False),
                        ("published_at__isnull", False),
                        ("terms_ref__isnull", False),
                        django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("terms_ref"), 16
                        ),
                    ),
                    _connector="OR",
                ),
                name="terms_are_recorded_iff_published",
            ),
        ),
        migrations.RunSQL(_SUBJECT, _SUBJECT_UNDONE),
    ]
