"""Whom an invitation went to can be erased: the row goes."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0103_erasures")]

    operations = [
        migrations.RunSQL(
            "GRANT DELETE ON marketplace_invitation TO licet_app",
            "REVOKE DELETE ON marketplace_invitation FROM licet_app",
        ),
    ]
