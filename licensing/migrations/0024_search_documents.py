"""What the market's search reads: a document for each listed offer, and the words of them all.

Offers that are listed already get theirs from `manage.py reindex_listings`.
"""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
import licensing.models.scope_claims
import marketplace.typeid
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations, models

PRIVILEGES = """
ALTER TABLE licensing_searchdocument ADD CONSTRAINT searchdocument_offer_id_same_parties
    FOREIGN KEY (organization_id, offer_id) REFERENCES licensing_offer (organization_id, id);
-- How frequent 5,000 words are, not 1,000: of a word that it does not know, the planner expects half
-- of a percent of all listings, and would look for a few rare ones among the newest.
ALTER TABLE licensing_searchdocument ALTER COLUMN search SET STATISTICS 500;
REVOKE UPDATE ON licensing_searchdocument FROM licet_app;
GRANT UPDATE (text_config, search, facets) ON licensing_searchdocument TO licet_app;
REVOKE UPDATE, DELETE ON licensing_searchword, licensing_searchscope FROM licet_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0023_validate_offer_states"),
        ("marketplace", "0092_collection_search_index"),
    ]

    operations = [
        TrigramExtension(),
        migrations.CreateModel(
            name="SearchScope",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("pairs", licensing.models.scope_claims.MultiRangeField()),
            ],
        ),
        migrations.CreateModel(
            name="SearchDocument",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="doc", primary_key=True, serialize=False),
                ),
                ("text_config", models.CharField(max_length=20)),
                ("search", django.contrib.postgres.search.SearchVectorField()),
                (
                    "facets",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=60), size=None
                    ),
                ),
                ("price_minor", models.BigIntegerField()),
                ("opens_at", models.DateTimeField()),
                ("closes_at", models.DateTimeField(blank=True, null=True)),
                ("version", models.SmallIntegerField()),
                (
                    "audience",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "offer",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.offer",
                    ),
                ),
                (
                    "scope",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.searchscope",
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
            options={
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(
                        fastupdate=False, fields=["search", "facets"], name="search_document_terms"
                    ),
                    models.Index(fields=["scope", "id"], name="search_document_scope"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "offer"), name="search_document_is_one_per_offer"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SearchWord",
            fields=[("word", models.CharField(max_length=40, primary_key=True, serialize=False))],
            options={
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(
                        fastupdate=False,
                        fields=["word"],
                        name="search_word_trigrams",
                        opclasses=["gin_trgm_ops"],
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("word", ""), _negated=True),
                        name="search_word_is_not_empty",
                    )
                ],
            },
        ),
        migrations.RunSQL(
            PRIVILEGES,
            "ALTER TABLE licensing_searchdocument DROP CONSTRAINT"
            " searchdocument_offer_id_same_parties",
        ),
    ]
