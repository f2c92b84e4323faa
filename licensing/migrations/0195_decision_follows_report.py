"""A statement of reasons says whether the decision follows a report."""

from django.db import migrations, models

# A report that was opened again on appeal has lost its decision, and the appeal has not.
FILL = """
SELECT set_config('licet.system', 'migration', true);
UPDATE licensing_moderationdecision decision SET follows_report = true
WHERE EXISTS (SELECT FROM licensing_report report WHERE report.decision_id = decision.id)
    OR EXISTS (
        SELECT FROM licensing_appeal appeal
        WHERE appeal.decision_id = decision.id AND appeal.report_id IS NOT NULL
    );
SELECT set_config('licet.system', '', true)
"""


class Migration(migrations.Migration):
    dependencies = [("licensing", "0180_held_agreements")]

    operations = [
        migrations.AddField(
            model_name="moderationdecision",
            name="follows_report",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
