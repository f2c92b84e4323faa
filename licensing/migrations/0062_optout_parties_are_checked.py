"""The composite foreign keys of opt-outs, checked over the rows that came before them: none."""

from django.db import migrations

CONSTRAINTS = [
    ("optoutitem", "opt_out_id"),
    ("optoutitem", "digest"),
    ("notice", "opt_out_id"),
    ("notice", "grant_id"),
    ("acknowledgement", "notice_id"),
    ("contributorlink", "contributor_id"),
    ("contributorlink", "opt_out_id"),
]


class Migration(migrations.Migration):
    dependencies = [("licensing", "0061_optout_walls")]

    operations = [
        migrations.RunSQL(
            f"ALTER TABLE licensing_{table} VALIDATE CONSTRAINT {table}_{column}_same_parties",
            migrations.RunSQL.noop,
        )
        for table, column in CONSTRAINTS
    ]
