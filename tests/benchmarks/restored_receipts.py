"""A fresh process on a restored market: verifies its receipts as a stranger would. Prints JSON."""

from __future__ import annotations

import json
import sys

from tests.benchmarks.measure import set_up


def main() -> int:
    """`VKEY COUNT`: how many receipts of grants were made and verified, and which were broken."""
    key, most = sys.argv[1:]
    set_up()
    from licensing.ledger import log, proofs
    from licensing.ledger.receipts import ReceiptError
    from licensing.models import Grant, LedgerOpening, LedgerParty
    from licensing.offline import verify
    from marketplace import access

    keys = verify.read_keys([key])
    verified, broken = 0, []
    with access.system("verify the receipts of a restored market"):
        grants = Grant.objects.select_related("issued_entry").order_by("pk")[: int(most)]
        for grant in grants.iterator(chunk_size=500):
            entry = grant.issued_entry
            opening = LedgerOpening.objects.get(entry=entry)
            party = LedgerParty.objects.filter(
                entry=entry, organization_id=grant.licensee_id
            ).first()
            try:
                receipt = proofs.receipt(entry, opening, party)
                if receipt is None:
                    raise ReceiptError("proof", "there is no receipt")
                proven = verify.check(receipt, keys)
                if not proven.values or proven.undisclosed:
                    raise ReceiptError("openings", "it does not open")
                verified += 1
            except (ReceiptError, log.LedgerCorrupted) as error:
                broken.append(f"{grant.pk}: {error}")
    print(json.dumps({"verified": verified, "broken": broken[:5], "count": len(broken)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
