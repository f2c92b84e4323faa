"""Makes the key of a log, once, and prints its public half."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from licensing.ledger import signer
from licensing.ledger.log import LOGS


class Command(BaseCommand):
    help = (
        "Make the signing key of a log unless it has one, and print the verifier key (vkey) that"
        " auditors need. Keep a copy of the key: a log cannot go on with another."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--log", choices=LOGS, default="test", help="default: test")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.stdout.write(signer.create(options["log"]).vkey())
        except (signer.KeyUnusable, OSError) as error:
            raise CommandError(str(error)) from error
