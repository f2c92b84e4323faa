"""Names that others know works by."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0093_remote_buckets"),
    ]

    operations = [
        migrations.CreateModel(
            name="WorkIdentifier",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "scheme",
                    models.CharField(
                        choices=[
                            ("text-nfc-lf/v1", "SHA-256 of the normalized text"),
                            ("iscc", "ISCC"),
                            ("url", "URL"),
                            ("isbn", "ISBN"),
                            ("isrc", "ISRC"),
                        ],
                        max_length=20,
                    ),
                ),
                ("value", models.CharField(max_length=1000)),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "work",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="identifiers",
                        to="marketplace.work",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["scheme", "value"], name="identifier_by_value"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("work", "scheme", "value"), name="identifier_is_said_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("scheme", "text-nfc-lf/v1"), ("value__regex", "^[0-9a-f]{64}$")
                            ),
                            models.Q(
                                ("scheme", "iscc"), ("value__regex", "^ISCC:[A-Z2-7]{10,100}$")
                            ),
                            models.Q(("scheme", "url"), ("value__regex", "^https?://[!-~]+$")),
                            models.Q(("scheme", "isbn"), ("value__regex", "^97[89][0-9]{10}$")),
                            models.Q(
                                ("scheme", "isrc"),
                                ("value__regex", "^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}$"),
                            ),
                            _connector="OR",
                        ),
                        name="identifier_fits_its_scheme",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_workidentifier"
            " ADD CONSTRAINT workidentifier_work_id_same_organization"
            " FOREIGN KEY (organization_id, work_id)"
            " REFERENCES marketplace_work (organization_id, id);"
            "ALTER TABLE marketplace_workidentifier ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON marketplace_workidentifier USING"
            " (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));"
            "REVOKE UPDATE, DELETE ON marketplace_workidentifier FROM licet_app;"
            "CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON marketplace_workidentifier"
            " FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();"
            "CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON marketplace_workidentifier"
            " EXECUTE FUNCTION licet_refuse_change();"
            "ALTER TABLE marketplace_workidentifier ENABLE ALWAYS TRIGGER insert_only,"
            " ENABLE ALWAYS TRIGGER insert_only_truncate",
            # With the table, all of it goes.
            migrations.RunSQL.noop,
        ),
    ]
