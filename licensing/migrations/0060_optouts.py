"""The tables of opt-outs, notices and contributors' links."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0034_access_request"),
        ("marketplace", "0089_reserved_at_organization"),
    ]

    operations = [
        migrations.CreateModel(
            name="OptOut",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="opt", primary_key=True, serialize=False),
                ),
                (
                    "by",
                    models.CharField(
                        choices=[
                            ("owner", "The owner"),
                            ("contributor", "The contributor"),
                            ("operator", "The market's operator"),
                            ("feed", "The owner's update feed"),
                        ],
                        max_length=11,
                    ),
                ),
                ("reason", models.CharField(max_length=1000)),
                ("is_everywhere", models.BooleanField(default=False)),
                ("opt_out_ref", models.BinaryField(max_length=16, unique=True)),
                ("size", models.BigIntegerField()),
                ("root", models.BinaryField(max_length=32)),
                ("citation", models.BinaryField(max_length=32)),
                ("secret", models.BinaryField(max_length=32)),
                ("actor", models.CharField(max_length=40)),
                (
                    "recorded_at",
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
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="opt_outs",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "other_entry",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.ledgerentry",
                    ),
                ),
            ],
            options={
                "verbose_name": "opt-out",
            },
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="ntc", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                (
                    "by",
                    models.CharField(
                        choices=[
                            ("owner", "The owner"),
                            ("contributor", "The contributor"),
                            ("operator", "The market's operator"),
                            ("feed", "The owner's update feed"),
                        ],
                        max_length=11,
                    ),
                ),
                ("notice_ref", models.BinaryField(max_length=16, unique=True)),
                (
                    "snapshots",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), size=None
                    ),
                ),
                ("size", models.BigIntegerField()),
                ("root", models.BinaryField(max_length=32)),
                ("citation", models.BinaryField(max_length=32)),
                ("secret", models.BinaryField(max_length=32)),
                (
                    "queued_at",
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
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="notices",
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
                    "opt_out",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="notices",
                        to="licensing.optout",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ContributorLink",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="lnk", primary_key=True, serialize=False),
                ),
                ("token_sha256", models.BinaryField(max_length=32)),
                ("created_by", models.CharField(max_length=40)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("expires_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "contributor",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="opt_out_links",
                        to="marketplace.contributor",
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
                    "opt_out",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.optout",
                    ),
                ),
            ],
            options={
                "verbose_name": "opt-out link",
            },
        ),
        migrations.CreateModel(
            name="OptOutItem",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "opt_out",
                        "digest",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("digest", models.BinaryField(max_length=32)),
                (
                    "opt_out",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="items",
                        to="licensing.optout",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Acknowledgement",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="ack", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                ("statement", models.CharField(max_length=2000)),
                ("person_name", models.CharField(max_length=200)),
                ("person_title", models.CharField(max_length=200)),
                ("actor", models.CharField(max_length=40)),
                (
                    "acknowledged_at",
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
                    "notice",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="acknowledgement",
                        to="licensing.notice",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("statement", ""), _negated=True),
                            models.Q(("person_name", ""), _negated=True),
                            models.Q(("person_title", ""), _negated=True),
                        ),
                        name="acknowledgement_is_signed",
                    )
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="optout",
            constraint=models.UniqueConstraint(
                fields=("organization", "id"), name="opt_out_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="optout",
            constraint=models.CheckConstraint(
                condition=models.Q(("by__in", ["owner", "contributor", "operator", "feed"])),
                name="opt_out_by_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="optout",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason", ""), _negated=True), name="opt_out_has_a_reason"
            ),
        ),
        migrations.AddConstraint(
            model_name="optout",
            constraint=models.CheckConstraint(
                condition=models.Q(("size__gt", 0)), name="opt_out_is_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="optout",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    django.db.models.lookups.Exact(
                        django.db.models.functions.text.Length("root"), 32
                    ),
                    django.db.models.lookups.Exact(
                        django.db.models.functions.text.Length("citation"), 32
                    ),
                    django.db.models.lookups.Exact(
                        django.db.models.functions.text.Length("secret"), 32
                    ),
                ),
                name="opt_out_hashes_are_sha256",
            ),
        ),
        migrations.AddConstraint(
            model_name="optout",
            constraint=models.CheckConstraint(
                condition=django.db.models.lookups.Exact(
                    django.db.models.functions.text.Length("opt_out_ref"), 16
                ),
                name="opt_out_ref_is_16_bytes",
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.UniqueConstraint(
                fields=("licensor", "licensee", "livemode", "id"), name="notice_of_parties"
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.UniqueConstraint(
                fields=("opt_out", "grant"), name="notice_is_given_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.CheckConstraint(
                condition=models.Q(("by__in", ["owner", "contributor", "operator", "feed"])),
                name="notice_by_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.CheckConstraint(
                condition=models.Q(("size__gt", 0)), name="notice_is_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.CheckConstraint(
                condition=models.Q(("licensor", models.F("licensee")), _negated=True),
                name="notice_parties_differ",
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    django.db.models.lookups.Exact(
                        django.db.models.functions.text.Length("root"), 32
                    ),
                    django.db.models.lookups.Exact(
                        django.db.models.functions.text.Length("citation"), 32
                    ),
                    django.db.models.lookups.Exact(
                        django.db.models.functions.text.Length("secret"), 32
                    ),
                ),
                name="notice_hashes_are_sha256",
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.CheckConstraint(
                condition=django.db.models.lookups.Exact(
                    django.db.models.functions.text.Length("notice_ref"), 16
                ),
                name="notice_ref_is_16_bytes",
            ),
        ),
        migrations.AddConstraint(
            model_name="contributorlink",
            constraint=models.UniqueConstraint(
                fields=("token_sha256",), name="contributor_link_token_is_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="contributorlink",
            constraint=models.CheckConstraint(
                condition=django.db.models.lookups.Exact(
                    django.db.models.functions.text.Length("token_sha256"), 32
                ),
                name="contributor_link_token_is_hashed",
            ),
        ),
        migrations.AddConstraint(
            model_name="contributorlink",
            constraint=models.CheckConstraint(
                condition=models.Q(("expires_at__gt", models.F("created_at"))),
                name="contributor_link_expires_after_creation",
            ),
        ),
        migrations.AddConstraint(
            model_name="contributorlink",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("used_at__isnull", True), ("revoked_at__isnull", True), _connector="OR"
                ),
                name="contributor_link_ends_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="contributorlink",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("opt_out__isnull", True), ("used_at__isnull", False), _connector="OR"
                ),
                name="contributor_link_opted_out_iff_used",
            ),
        ),
    ]
