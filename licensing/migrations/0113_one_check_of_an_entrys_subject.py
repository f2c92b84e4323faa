"""One deferred check of an entry's subject, which asks the function of the kind's family.

A trigger with a condition costs each insert about 25 µs, whether it fires or not: PostgreSQL
prepares the condition anew for each statement. There were six, and an entry is about one thing.
"""

from django.db import migrations

# Family -> what its entries are about. `entry` is the row.
_FAMILIES = {
    "grant": """EXISTS (
        SELECT FROM licensing_grantevent event
        JOIN licensing_grant given ON given.id = event.grant_id
        WHERE event.entry_id = entry.id AND event.number = entry.seq
            AND given.grant_ref = entry.subject_ref AND entry.kind = 'grant.' || event.kind
    ) OR EXISTS (
        SELECT FROM licensing_period period
        JOIN licensing_grant given ON given.id = period.grant_id
        WHERE period.entry_id = entry.id AND period.kind <> 'issued'
            AND given.grant_ref = entry.subject_ref AND entry.kind = 'grant.' || period.kind
    ) OR EXISTS (
        SELECT FROM licensing_coverage coverage
        JOIN licensing_grant given ON given.id = coverage.grant_id
        WHERE coverage.entry_id = entry.id
            AND given.grant_ref = entry.subject_ref AND entry.kind = 'grant.coverage_added'
    )""",
    "optout": """entry.kind = 'optout.recorded' AND EXISTS (
        SELECT FROM licensing_optout
        WHERE opt_out_ref = entry.subject_ref AND entry.id IN (entry_id, other_entry_id)
    ) OR entry.kind = 'optout.notified' AND EXISTS (
        SELECT FROM licensing_notice WHERE entry_id = entry.id AND notice_ref = entry.subject_ref
    ) OR entry.kind = 'optout.acknowledged' AND EXISTS (
        SELECT FROM licensing_acknowledgement acknowledged
        JOIN licensing_notice notice ON notice.id = acknowledged.notice_id
        WHERE acknowledged.entry_id = entry.id AND notice.notice_ref = entry.subject_ref
    )""",
    "snapshot": """entry.kind = 'snapshot.finalized' AND EXISTS (
        SELECT FROM licensing_snapshot
        WHERE entry_id = entry.id AND snapshot_ref = entry.subject_ref
    )""",
    "terms": """entry.kind = 'terms.published' AND EXISTS (
        SELECT FROM licensing_terms
        WHERE entry_id = entry.id AND terms_ref = entry.subject_ref AND published_at IS NOT NULL
    )""",
    "status": """entry.kind = 'status.root' AND EXISTS (
        SELECT FROM licensing_statusroot
        WHERE entry_id = entry.id AND log = entry.log AND number = entry.seq
    )""",
    "audit": """entry.kind = 'audit.root' AND EXISTS (
        SELECT FROM licensing_auditroot
        WHERE entry_id = entry.id AND log = entry.log AND number = entry.seq
    )""",
    "log": """entry.kind = 'log.key_changed' AND EXISTS (
        SELECT FROM licensing_ledgerkeychange
        WHERE entry_id = entry.id AND ref = entry.subject_ref AND log = entry.log
    ) OR entry.kind = 'log.continued' AND EXISTS (
        SELECT FROM licensing_ledgercontinuation
        WHERE entry_id = entry.id AND ref = entry.subject_ref AND log = entry.log
    )""",
}

# What came back from a log's copy and has its place, for all but facts of the log itself.
_RECOVERED = """EXISTS (
        SELECT FROM licensing_ledgerrecovered recovered
        JOIN licensing_ledgerleaf leaf ON leaf.entry_id = recovered.entry_id
        WHERE recovered.entry_id = NEW.id
    )"""

# The triggers until now: name, condition, the families that each asks, whether what came back may
# stand in.
_BEFORE = [
    (
        "grant_event",
        "starts_with(NEW.kind, 'grant.') AND NEW.kind <> 'grant.issued'",
        ["grant"],
        True,
    ),
    ("optout", "starts_with(NEW.kind, 'optout.')", ["optout"], True),
    (
        "catalogue",
        "starts_with(NEW.kind, 'snapshot.') OR starts_with(NEW.kind, 'terms.')",
        ["snapshot", "terms"],
        True,
    ),
    ("status", "NEW.kind = 'status.root'", ["status"], True),
    ("audit", "starts_with(NEW.kind, 'audit.')", ["audit"], True),
    ("log", "starts_with(NEW.kind, 'log.')", ["log"], False),
]


def _ask(family: str) -> str:
    return f"{family}_subject_exists"


def _functions() -> str:
    made = "".join(
        f"CREATE FUNCTION {_ask(family)}(entry licensing_ledgerentry) RETURNS boolean"
        f" LANGUAGE plpgsql AS $$ BEGIN RETURN {exists}; END $$;\n"
        for family, exists in _FAMILIES.items()
    )
    asked = "\n".join(f"        WHEN '{family}' THEN {_ask(family)}(NEW)" for family in _FAMILIES)
    return f"""
{made}
CREATE OR REPLACE FUNCTION ledger_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind = 'grant.issued' THEN
        IF EXISTS (
            SELECT FROM licensing_grant
            WHERE issued_entry_id = NEW.id AND grant_ref = NEW.subject_ref
        ) THEN
            RETURN NULL;
        END IF;
    ELSIF (CASE split_part(NEW.kind, '.', 1)
{asked}
        ELSE true
    END) THEN
        RETURN NULL;
    END IF;
    IF NOT starts_with(NEW.kind, 'log.') AND {_RECOVERED} THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'ledger_entry_has_its_subject';
END $$;
"""


def _drop_before() -> list[str]:
    """One by one, so that the comments for squawk stay."""
    return [
        statement
        for name, *_rest in _BEFORE
        for statement in (
            f"DROP TRIGGER {name}_entry_has_its_subject ON licensing_ledgerentry",
            "-- Nothing but its trigger called it.\n"
            "-- squawk-ignore ban-drop-function\n"
            f"DROP FUNCTION {name}_entry_has_its_subject()",
        )
    ]


def _make_before() -> str:
    made = f"""
CREATE OR REPLACE FUNCTION ledger_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind = 'grant.issued' AND NOT EXISTS (
        SELECT 1 FROM licensing_grant WHERE issued_entry_id = NEW.id AND grant_ref = NEW.subject_ref
    ) AND NOT {_RECOVERED} THEN
        RAISE EXCEPTION 'ledger entry % has no grant', NEW.id USING
            ERRCODE = 'integrity_constraint_violation',
            CONSTRAINT = 'ledger_entry_has_its_subject';
    END IF;
    RETURN NULL;
END $$;
"""
    for name, condition, families, may_stand_in in _BEFORE:
        exists = " OR ".join(_FAMILIES[family].replace("entry.", "NEW.") for family in families)
        trigger = f"{name}_entry_has_its_subject"
        stands_in = f" OR {_RECOVERED}" if may_stand_in else ""
        made += f"""
CREATE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF {exists}{stands_in} THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = '{trigger}';
END $$;
CREATE CONSTRAINT TRIGGER {trigger} AFTER INSERT ON licensing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {trigger}();
ALTER TABLE licensing_ledgerentry ENABLE ALWAYS TRIGGER {trigger};
"""
    dropped = "".join(
        f"DROP FUNCTION {_ask(family)}(licensing_ledgerentry);" for family in _FAMILIES
    )
    return made + dropped


class Migration(migrations.Migration):
    dependencies = [("licensing", "0112_ledger_places_set_free")]

    operations = [
        migrations.RunSQL(_functions(), _make_before()),
        migrations.RunSQL([*_drop_before()], migrations.RunSQL.noop),
    ]
