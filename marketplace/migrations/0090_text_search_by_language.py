"""Which text search configuration texts in some languages have: that of the first of them.

Where nobody said a language it is English: most descriptions are. A text in another language still
finds its own words, for question and text are read alike.
"""

from django.db import migrations

# By BCP 47 primary subtag. All are in PostgreSQL 15 and later, which needs no ICU for them.
CONFIGURATIONS = {
    "ar": "arabic",
    "hy": "armenian",
    "eu": "basque",
    "ca": "catalan",
    "da": "danish",
    "nl": "dutch",
    "en": "english",
    "fi": "finnish",
    "fr": "french",
    "de": "german",
    "el": "greek",
    "hi": "hindi",
    "hu": "hungarian",
    "id": "indonesian",
    "ga": "irish",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "no": "norwegian",
    "nb": "norwegian",
    "nn": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "es": "spanish",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
CASES = "\n".join(
    f"        WHEN '{subtag}' THEN 'pg_catalog.{name}'::regconfig"
    for subtag, name in CONFIGURATIONS.items()
)


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0089_reserved_at_organization")]

    operations = [
        migrations.RunSQL(
            f"""
CREATE FUNCTION licet_text_config(languages text[]) RETURNS regconfig
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE split_part(lower(coalesce(languages[1], 'en')), '-', 1)
{CASES}
        ELSE 'pg_catalog.simple'::regconfig
    END $$;

-- What a collection's owner finds it by. Dear, so that the planner asks the index before it reads
-- all texts of an owner.
CREATE FUNCTION licet_collection_vector(languages text[], name text, description text)
    RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 10000
    -- Bound when it is made: while it builds an index, PostgreSQL looks in its own schema alone.
    RETURN to_tsvector(licet_text_config(languages), name)
        || to_tsvector(licet_text_config(languages), description);
""",
            "DROP FUNCTION licet_collection_vector(text[], text, text);"
            " DROP FUNCTION licet_text_config(text[])",
        )
    ]
