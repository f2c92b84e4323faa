"""The table of what became of grants after they were issued."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0088_ledger_key_changes"),
        ("marketplace", "0104_invitations_can_be_erased"),
    ]

    operations = [
        migrations.CreateModel(
            name="GrantEvent",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="gev", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                ("number", models.IntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("suspended", "Suspended"),
                            ("reinstated", "Reinstated"),
                            ("revoked", "Revoked"),
                            ("expired", "Expired"),
                        ],
                        max_length=10,
                    ),
                ),
                ("effective_at", models.DateTimeField()),
                (
                    "effect",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("prospective", "From then on"),
                            ("void_from_start", "As if it had never been given"),
                        ],
                        max_length=15,
                    ),
                ),
                (
                    "by",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("licensor", "The licensor"),
                            ("licensee", "The licensee"),
                            ("operator", "The market's operator"),
                            ("market", "The market, by its rules"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "cause",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("breach", "Breach of the terms"),
                            ("insolvency", "Insolvency"),
                            ("change_of_control", "Change of control"),
                            ("convenience_licensor", "The licensor's own wish"),
                            ("convenience_licensee", "The licensee's own wish"),
                            ("law", "Law, or an order of a court or an authority"),
                            ("agreed", "The parties agreed on it"),
                            ("rights_claimed", "Somebody else claims the rights"),
                            ("mistake", "Issued by mistake"),
                            ("refunded", "The payment was returned"),
                            ("payment_disputed", "The payment is disputed"),
                            ("payment_overdue", "The payment is overdue"),
                            ("settled", "What led to it is settled"),
                            ("other", "Something else: see the reason"),
                        ],
                        max_length=20,
                    ),
                ),
                ("reference", models.CharField(blank=True, max_length=60)),
                ("reason", models.CharField(blank=True, max_length=1000)),
                ("duties", models.JSONField(default=list)),
                ("actor", models.CharField(max_length=40)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.ledgerentry",
                    ),
                ),
                (
                    "grant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="events",
                        to="licensing.grant",
                    ),
                ),
                (
                    "licensee",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "licensor",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
            ],
            options={
                "verbose_name": "event of a grant",
                "verbose_name_plural": "events of grants",
                "indexes": [
                    models.Index(
                        condition=models.Q(("effective_at__gt", models.F("created_at"))),
                        fields=["effective_at"],
                        name="grant_event_announced",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("grant", "number"), name="grant_event_number_is_unique"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("number__gt", 0)), name="grant_event_follows_its_issue"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("kind__in", ["suspended", "reinstated", "revoked", "expired"])
                        ),
                        name="grant_event_kind_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("effect__in", ["prospective", "void_from_start"]),
                                ("kind", "revoked"),
                            ),
                            models.Q(models.Q(("kind", "revoked"), _negated=True), ("effect", "")),
                            _connector="OR",
                        ),
                        name="grant_event_effect_iff_revoked",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("by", ""),
                                ("cause", ""),
                                ("kind", "expired"),
                                ("reason", ""),
                                ("reference", ""),
                            ),
                            models.Q(
                                models.Q(("kind", "expired"), _negated=True),
                                models.Q(("by", ""), _negated=True),
                                models.Q(("cause", ""), _negated=True),
                                models.Q(("reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="grant_event_says_why_unless_expired",
                    ),
                ],
            },
        ),
        # With the table: to rows that are there already it would be a lock.
        migrations.RunSQL(
            "ALTER TABLE licensing_grantevent ADD CONSTRAINT grantevent_grant_id_same_parties"
            " FOREIGN KEY (licensor_id, licensee_id, livemode, grant_id)"
            " REFERENCES licensing_grant (licensor_id, licensee_id, livemode, id)",
            "ALTER TABLE licensing_grantevent DROP CONSTRAINT grantevent_grant_id_same_parties",
        ),
    ]
