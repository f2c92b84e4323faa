"""The payments app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class PaymentsConfig(AppConfig):
    name = "payments"
    verbose_name = gettext_lazy("Payments")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell lower nouns what those above them know: how calls are made, whose an order is.

        And say what dashboards show of money.
        """
        from marketplace import legal_holds, metrics, model_names, panels
        from payments import (
            checkouts,
            commands,
            connect,
            disputes,
            earnings,
            erasures,
            invoices,
            market_panels,
            payout_panels,
            queues,
            refunds,
            remittances,
            royalty_payments,
            spending,
            tax_records,
            transfers,
        )
        from payments.models import Command

        Kind = Command.Kind
        model_names.translate(self)
        commands.CALLS |= {
            Kind.CREATE_CHECKOUT: checkouts.CREATE,
            Kind.EXPIRE_CHECKOUT: checkouts.EXPIRE,
            Kind.REFUND: refunds.REFUND,
            Kind.CREATE_ACCOUNT: connect.CREATE,
            Kind.TRANSFER: transfers.SEND,
            Kind.REVERSE_TRANSFER: transfers.REVERSE,
            Kind.ROYALTY_TRANSFER: royalty_payments.TRANSFER,
            Kind.REMITTANCE: remittances.SEND,
            Kind.SEND_EVIDENCE: disputes.EVIDENCE,
            Kind.CREATE_CUSTOMER: invoices.CREATE_CUSTOMER,
            Kind.SEND_INVOICE: invoices.SEND,
            Kind.VOID_INVOICE: invoices.VOID,
            Kind.CREDIT_NOTE: invoices.CREDIT,
            Kind.RECORD_TAX: tax_records.RECORD,
            Kind.REVERSE_TAX: tax_records.REVERSE,
        }
        panels.register(
            *earnings.PANELS, *payout_panels.PANELS, *spending.PANELS, *market_panels.PANELS
        )
        legal_holds.OWNERS["ord"] = erasures.parties_of
        metrics.READINGS.append(queues.readings)
