"""What was "live" is "listed" from now on."""

from django.db import migrations


def rename(before, after):
    def run(apps, _schema_editor):
        apps.get_model("licensing", "Offer").objects.filter(state=before).update(state=after)

    return run


class Migration(migrations.Migration):
    dependencies = [("licensing", "0020_offer_review")]

    operations = [migrations.RunPython(rename("live", "listed"), rename("listed", "live"))]
