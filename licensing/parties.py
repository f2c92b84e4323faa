"""How ledger entries name an organization."""

from __future__ import annotations

from marketplace.models import Organization


def party(organization: Organization) -> dict[str, str]:
    """Who an organization is, as ledger entries commit to it."""
    return {
        "legal_name": organization.legal_name,
        "jurisdiction": organization.jurisdiction,
        "registration_number": organization.registration_number,
        "id": str(organization.pk),
    }
