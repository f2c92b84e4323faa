"""Django's cache in the database: counts of failed sign-ins that all processes share."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0131_user_signed_out_at")]

    operations = [
        # As `createcachetable` makes it, but not logged: after a crash the counts begin anew.
        migrations.RunSQL(
            [
                "-- squawk-ignore prefer-text-field\n"
                "CREATE UNLOGGED TABLE django_cache ("
                "cache_key varchar(255) NOT NULL PRIMARY KEY,"
                " value text NOT NULL,"
                " expires timestamp with time zone NOT NULL)",
                "CREATE INDEX django_cache_expires ON django_cache (expires)",
            ],
            "DROP TABLE django_cache",
        ),
    ]
