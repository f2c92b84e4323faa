"""Reports about works, what operators decide, and appeals."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0124_held_grants"),
        ("marketplace", "0140_traders_and_legal_holds"),
    ]

    operations = [
        migrations.CreateModel(
            name="ModerationDecision",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="mod", primary_key=True, serialize=False),
                ),
                (
                    "measure",
                    models.CharField(
                        choices=[
                            ("none", "No action"),
                            ("listing_suspended", "The listing is suspended"),
                            ("work_held", "The works are held: not licensed and not delivered"),
                            ("taken_down", "The listing is suspended, and its works are held"),
                            ("sales_suspended", "All sales of the seller are suspended"),
                        ],
                        max_length=17,
                    ),
                ),
                (
                    "digests",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                ("facts", models.TextField(max_length=5000)),
                (
                    "ground",
                    models.CharField(
                        choices=[
                            ("law", "Illegal content"),
                            ("terms", "Against the market's terms"),
                        ],
                        max_length=5,
                    ),
                ),
                ("reference", models.TextField(max_length=2000)),
                (
                    "automation",
                    models.CharField(
                        choices=[
                            ("none", "No automated means were used"),
                            ("detected", "The content was found by automated means"),
                            ("decided", "The decision was prepared by automated means"),
                        ],
                        default="none",
                        max_length=8,
                    ),
                ),
                ("until", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(max_length=40)),
                (
                    "decided_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "suspended",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=60),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("in_force", "In force"),
                            ("reversed", "Reversed on appeal"),
                            ("lifted", "Lifted by an operator"),
                            ("expired", "Its time is over"),
                        ],
                        default="in_force",
                        max_length=8,
                    ),
                ),
                ("ended_by", models.CharField(blank=True, max_length=40)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("end_reason", models.TextField(blank=True, max_length=5000)),
                ("token_sha256", models.BinaryField(max_length=32, null=True, unique=True)),
                (
                    "offer",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.offer",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
            ],
            options={
                "verbose_name": "moderation decision",
                "verbose_name_plural": "moderation decisions",
            },
        ),
        migrations.CreateModel(
            name="Report",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rpt", primary_key=True, serialize=False),
                ),
                ("target", models.CharField(max_length=2000)),
                ("target_sha256", models.BinaryField(max_length=32)),
                ("digest", models.BinaryField(max_length=32, null=True)),
                (
                    "ground",
                    models.CharField(
                        choices=[
                            ("law", "It is against the law"),
                            ("copyright", "It infringes a copyright or another right"),
                            ("personal_data", "It shows or tells personal data"),
                            ("child_abuse", "It shows the sexual abuse of a child"),
                            ("other", "Something else"),
                        ],
                        max_length=13,
                    ),
                ),
                ("explanation", models.TextField(max_length=5000)),
                ("location", models.TextField(max_length=2000)),
                ("reporter_name", models.CharField(blank=True, max_length=200)),
                ("reporter_email", models.EmailField(blank=True, max_length=254)),
                ("in_good_faith", models.BooleanField()),
                ("erased_at", models.DateTimeField(blank=True, null=True)),
                ("sender", models.BinaryField(max_length=32)),
                ("token_sha256", models.BinaryField(max_length=32, unique=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("received", "Received: a person will look at it"),
                            ("decided", "Decided"),
                        ],
                        default="received",
                        max_length=8,
                    ),
                ),
                (
                    "received_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "collection",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.collection",
                    ),
                ),
                (
                    "decision",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reports",
                        to="licensing.moderationdecision",
                    ),
                ),
                (
                    "joined_to",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="joined",
                        to="licensing.report",
                    ),
                ),
                (
                    "offer",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.offer",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
            ],
            options={
                "verbose_name": "report",
                "verbose_name_plural": "reports",
            },
        ),
        migrations.CreateModel(
            name="Appeal",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="apl", primary_key=True, serialize=False),
                ),
                (
                    "by",
                    models.CharField(
                        choices=[("seller", "The seller"), ("reporter", "The reporter")],
                        max_length=8,
                    ),
                ),
                ("reasons", models.TextField(max_length=5000)),
                ("actor", models.CharField(max_length=40)),
                (
                    "filed_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Awaits another operator"),
                            ("upheld", "The decision stands"),
                            ("reversed", "The decision was reversed"),
                        ],
                        default="open",
                        max_length=8,
                    ),
                ),
                ("first_operator", models.CharField(max_length=40)),
                ("answer", models.TextField(blank=True, max_length=5000)),
                ("answered_by", models.CharField(blank=True, max_length=40)),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "decision",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="appeals",
                        to="licensing.moderationdecision",
                    ),
                ),
                (
                    "report",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="appeals",
                        to="licensing.report",
                    ),
                ),
            ],
            options={
                "verbose_name": "appeal",
                "verbose_name_plural": "appeals",
            },
        ),
        migrations.AddIndex(
            model_name="moderationdecision",
            index=models.Index(
                condition=models.Q(("state", "in_force")),
                fields=["organization", "measure"],
                name="moderation_in_force",
            ),
        ),
        migrations.AddConstraint(
            model_name="moderationdecision",
            constraint=models.UniqueConstraint(
                fields=("organization", "id"), name="moderation_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="moderationdecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("measure", "none"),
                    models.Q(
                        ("measure__in", ["listing_suspended", "taken_down"]),
                        ("offer__isnull", False),
                        ("organization__isnull", False),
                    ),
                    models.Q(
                        ("digests__len__gt", 0),
                        ("measure", "work_held"),
                        ("organization__isnull", False),
                    ),
                    models.Q(("measure", "sales_suspended"), ("organization__isnull", False)),
                    _connector="OR",
                ),
                name="moderation_measure_has_its_target",
            ),
        ),
        migrations.AddConstraint(
            model_name="moderationdecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("automation__in", ["none", "detected", "decided"]),
                    ("ground__in", ["law", "terms"]),
                    models.Q(("facts", ""), _negated=True),
                    models.Q(("reference", ""), _negated=True),
                ),
                name="moderation_states_its_reasons",
            ),
        ),
        migrations.AddConstraint(
            model_name="moderationdecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("until__isnull", True), ("until__gt", models.F("decided_at")), _connector="OR"
                ),
                name="moderation_ends_after_it_was_decided",
            ),
        ),
        migrations.AddConstraint(
            model_name="moderationdecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("end_reason", ""),
                        ("ended_at__isnull", True),
                        ("ended_by", ""),
                        ("state", "in_force"),
                    ),
                    models.Q(
                        ("ended_at__isnull", False),
                        ("state__in", ["reversed", "lifted"]),
                        models.Q(("ended_by", ""), _negated=True),
                        models.Q(("end_reason", ""), _negated=True),
                    ),
                    models.Q(
                        ("ended_at__isnull", False), ("state", "expired"), ("until__isnull", False)
                    ),
                    _connector="OR",
                ),
                name="moderation_state_matches_its_end",
            ),
        ),
        migrations.AddConstraint(
            model_name="moderationdecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("token_sha256__isnull", True),
                    django.db.models.lookups.Exact(
                        django.db.models.functions.text.Length("token_sha256"), 32
                    ),
                    _connector="OR",
                ),
                name="moderation_token_is_sha256",
            ),
        ),
        migrations.AddIndex(
            model_name="report",
            index=models.Index(
                condition=models.Q(("state", "received")),
                fields=["target_sha256"],
                name="report_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="report",
            index=models.Index(fields=["sender", "received_at"], name="report_of_sender"),
        ),
        migrations.AddIndex(
            model_name="report",
            index=models.Index(fields=["reporter_email", "received_at"], name="report_of_reporter"),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("ground__in", ["law", "copyright", "personal_data", "child_abuse", "other"])
                ),
                name="report_ground_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("target", ""), _negated=True),
                    models.Q(("explanation", ""), _negated=True),
                    models.Q(("location", ""), _negated=True),
                ),
                name="report_says_what_where_and_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(("in_good_faith", True)), name="report_is_made_in_good_faith"
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("reporter_name", ""), _negated=True),
                        models.Q(("reporter_email", ""), _negated=True),
                    ),
                    ("ground", "child_abuse"),
                    models.Q(
                        ("erased_at__isnull", False), ("reporter_email", ""), ("reporter_name", "")
                    ),
                    _connector="OR",
                ),
                name="report_says_by_whom",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decision__isnull", True), ("state", "received")),
                    models.Q(("decision__isnull", False), ("state", "decided")),
                    _connector="OR",
                ),
                name="report_is_decided_iff_it_has_a_decision",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("joined_to__isnull", True),
                    models.Q(("joined_to", models.F("id")), _negated=True),
                    _connector="OR",
                ),
                name="report_joins_another",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    django.db.models.lookups.Exact(
                        django.db.models.functions.text.Length("target_sha256"), 32
                    ),
                    models.Q(
                        django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("token_sha256"), 32
                        )
                    ),
                    django.db.models.lookups.Exact(
                        django.db.models.functions.text.Length("sender"), 32
                    ),
                    models.Q(
                        ("digest__isnull", True),
                        django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("digest"), 32
                        ),
                        _connector="OR",
                    ),
                ),
                name="report_hashes_are_sha256",
            ),
        ),
        migrations.AddConstraint(
            model_name="appeal",
            constraint=models.UniqueConstraint(
                fields=("decision", "report"), name="appeal_is_made_once", nulls_distinct=False
            ),
        ),
        migrations.AddConstraint(
            model_name="appeal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("by", "seller"), ("organization__isnull", False), ("report__isnull", True)
                    ),
                    models.Q(("by", "reporter"), ("report__isnull", False)),
                    _connector="OR",
                ),
                name="appeal_is_the_sellers_or_a_reporters",
            ),
        ),
        migrations.AddConstraint(
            model_name="appeal",
            constraint=models.CheckConstraint(
                condition=models.Q(("reasons", ""), _negated=True), name="appeal_says_why"
            ),
        ),
        migrations.AddConstraint(
            model_name="appeal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("answer", ""),
                        ("answered_at__isnull", True),
                        ("answered_by", ""),
                        ("state", "open"),
                    ),
                    models.Q(
                        ("answered_at__isnull", False),
                        ("state__in", ["upheld", "reversed"]),
                        models.Q(("answer", ""), _negated=True),
                        models.Q(("answered_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="appeal_state_matches_its_answer",
            ),
        ),
        migrations.AddConstraint(
            model_name="appeal",
            constraint=models.CheckConstraint(
                condition=models.Q(("answered_by", models.F("first_operator")), _negated=True),
                name="appeal_is_answered_by_another",
            ),
        ),
    ]
