"""Which works of an offer may be evaluated for free, and who took them. Neither ever changes."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models

COMPOSITE = [
    ("sample", "organization_id, offer_id", "licensing_offer", "organization_id, id"),
    ("sample", "organization_id, sample_offer_id", "licensing_offer", "organization_id, id"),
    (
        "takensample",
        "licensor_id, offer_id, sample_id",
        "licensing_sample",
        "organization_id, offer_id, id",
    ),
    (
        "takensample",
        "licensor_id, licensee_id, livemode, grant_id",
        "licensing_grant",
        "licensor_id, licensee_id, livemode, id",
    ),
]


def _foreign_keys() -> list[migrations.RunSQL]:
    operations = []
    for table, columns, target, keys in COMPOSITE:
        name = f"{table}_{columns.split(', ')[-1]}_same_parties"
        operations.append(
            migrations.RunSQL(
                f"ALTER TABLE licensing_{table} ADD CONSTRAINT {name}"
                f" FOREIGN KEY ({columns}) REFERENCES {target} ({keys})",
                f"ALTER TABLE licensing_{table} DROP CONSTRAINT {name}",
            )
        )
    return operations


def _insert_only() -> list[migrations.RunSQL]:
    return [
        migrations.RunSQL(
            f"REVOKE UPDATE, DELETE ON licensing_{table} FROM licet_app;"
            f"CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON licensing_{table}"
            " FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();"
            f"CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON licensing_{table}"
            " EXECUTE FUNCTION licet_refuse_change();"
            f"ALTER TABLE licensing_{table} ENABLE ALWAYS TRIGGER insert_only,"
            " ENABLE ALWAYS TRIGGER insert_only_truncate",
            f"DROP TRIGGER insert_only ON licensing_{table};"
            f"DROP TRIGGER insert_only_truncate ON licensing_{table};"
            f"GRANT UPDATE, DELETE ON licensing_{table} TO licet_app",
        )
        for table in ("sample", "takensample")
    ]


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0062_optout_parties_are_checked"),
        ("marketplace", "0093_remote_buckets"),
    ]

    operations = [
        migrations.CreateModel(
            name="Sample",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="smp", primary_key=True, serialize=False),
                ),
                ("works", models.IntegerField()),
                (
                    "chosen_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "offer",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="samples",
                        to="licensing.offer",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "sample_offer",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="sample",
                        to="licensing.offer",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "offer", "id"), name="sample_of_offer"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("works__gt", 0)), name="sample_is_not_empty"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("offer", models.F("sample_offer")), _negated=True),
                        name="sample_is_of_another_offer",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TakenSample",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="tks", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                (
                    "taken_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "grant",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.grant",
                    ),
                ),
                (
                    "licensee",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "licensor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "offer",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.offer",
                    ),
                ),
                (
                    "sample",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="taken",
                        to="licensing.sample",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("offer", "licensee", "livemode"), name="sample_is_taken_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("licensor", models.F("licensee")), _negated=True),
                        name="taken_sample_parties_differ",
                    ),
                ],
            },
        ),
        *_foreign_keys(),
        # What a seller chose stands beside its offer in the catalogue; who took it is between the
        # two.
        migrations.RunSQL(
            "ALTER TABLE licensing_takensample"
            " ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON licensing_takensample USING"
            " (licensor_id = (SELECT licet_tenant()) OR licensee_id = (SELECT licet_tenant())"
            " OR (SELECT licet_system()))",
            "DROP POLICY tenant ON licensing_takensample;"
            "ALTER TABLE licensing_takensample"
            " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        ),
        *_insert_only(),
    ]
