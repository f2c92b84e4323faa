"""What people do with their own accounts, which no tenant reads and nobody changes."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0106_item_units_are_valid")]

    operations = [
        migrations.CreateModel(
            name="AccountAct",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="act", primary_key=True, serialize=False),
                ),
                ("action", models.CharField(max_length=60)),
                ("data", models.JSONField(default=dict)),
                ("at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_accountact ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY system ON marketplace_accountact USING ((SELECT licet_system()));"
            "REVOKE UPDATE, DELETE ON marketplace_accountact FROM licet_app;"
            "CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON marketplace_accountact"
            " FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();"
            "CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON marketplace_accountact"
            " EXECUTE FUNCTION licet_refuse_change();"
            "ALTER TABLE marketplace_accountact ENABLE ALWAYS TRIGGER insert_only,"
            " ENABLE ALWAYS TRIGGER insert_only_truncate",
            "DROP TRIGGER insert_only ON marketplace_accountact;"
            "DROP TRIGGER insert_only_truncate ON marketplace_accountact;"
            "GRANT UPDATE, DELETE ON marketplace_accountact TO licet_app;"
            "DROP POLICY system ON marketplace_accountact;"
            "ALTER TABLE marketplace_accountact"
            " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        ),
    ]
