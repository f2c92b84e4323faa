"""Packs what opens the entries that are there, a batch in each transaction."""

from typing import Any

from django.db import migrations, transaction

from licensing import packing

BATCH = 1_000

_PLAIN = """
SELECT entry_id, values FROM licensing_ledgeropening
WHERE entry_id > %s AND values <> '' ORDER BY entry_id LIMIT %s FOR UPDATE
"""
_PACK = "UPDATE licensing_ledgeropening SET packed = %s, values = '' WHERE entry_id = %s"

_PACKED = """
SELECT entry_id, packed FROM licensing_ledgeropening
WHERE entry_id > %s AND packed IS NOT NULL ORDER BY entry_id LIMIT %s FOR UPDATE
"""
_UNPACK = "UPDATE licensing_ledgeropening SET values = %s, packed = NULL WHERE entry_id = %s"


def pack(_apps: Any, schema_editor: Any) -> None:
    """Who records meanwhile, packs already; an interrupted run goes on where it stopped."""
    _change(schema_editor.connection, _PLAIN, _PACK, lambda text: packing.pack(text.encode()))


def unpack(_apps: Any, schema_editor: Any) -> None:
    _change(schema_editor.connection, _PACKED, _UNPACK, lambda data: packing.unpack(data).decode())


def _change(connection: Any, read: str, write: str, convert: Any) -> None:
    last = 0
    while True:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('licet.system', 'pack openings', true)")
            cursor.execute(read, [last, BATCH])
            rows = cursor.fetchall()
            if not rows:
                return
            cursor.executemany(write, [(convert(value), key) for key, value in rows])
            last = rows[-1][0]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("licensing", "0073_ledger_openings_packed")]

    operations = [
        migrations.RunPython(pack, unpack),
    ]
