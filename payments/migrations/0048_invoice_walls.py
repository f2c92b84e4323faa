"""Walls, composite keys and fixed columns of invoices."""

from django.db import migrations

OWN = "organization_id = (SELECT licet_tenant())"

# Who may see a row, beside all-tenant work.
PRIVATE = {
    "invoice": f"{OWN} OR seller_id = (SELECT licet_tenant())",
    "stripecustomer": OWN,
}

COMPOSITE = [
    ("invoice_order_belongs", "order_id", "payments_order"),
    ("invoice_customer_belongs", "customer_id", "payments_stripecustomer"),
]

# What was agreed stays; only what happens next is written.
FIXED = """
REVOKE UPDATE, DELETE ON payments_invoice, payments_stripecustomer FROM licet_app;
GRANT UPDATE (
    status, stripe_id, number, hosted_url, stripe_lines, sent_at, reminded_at, suspended_at,
    void_asked_at, voided_at
) ON payments_invoice TO licet_app;
GRANT UPDATE (stripe_id) ON payments_stripecustomer TO licet_app;
"""
FIXED_UNDONE = "GRANT UPDATE, DELETE ON payments_invoice, payments_stripecustomer TO licet_app;"


class Migration(migrations.Migration):
    dependencies = [("payments", "0047_invoices")]

    operations = [
        *(
            migrations.RunSQL(
                f"ALTER TABLE payments_invoice ADD CONSTRAINT {name}"
                f" FOREIGN KEY (organization_id, livemode, {column})"
                f" REFERENCES {target} (organization_id, livemode, id) NOT VALID",
                f"ALTER TABLE payments_invoice DROP CONSTRAINT {name}",
            )
            for name, column, target in COMPOSITE
        ),
        *(
            migrations.RunSQL(
                f"ALTER TABLE payments_{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
                f"CREATE POLICY tenant ON payments_{table} USING"
                f" ({condition} OR (SELECT licet_system()))",
                f"DROP POLICY tenant ON payments_{table};"
                f"ALTER TABLE payments_{table} DISABLE ROW LEVEL SECURITY,"
                " NO FORCE ROW LEVEL SECURITY",
            )
            for table, condition in PRIVATE.items()
        ),
        migrations.RunSQL(FIXED, FIXED_UNDONE),
    ]
