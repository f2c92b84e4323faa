"""`manage.py demo`: the main job on real files, from a listing to a verified receipt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from payments import demo, demo_opt_out, processes


class Command(BaseCommand):
    help = (
        "List this machine's Python standard library (or --from DIR), license it to a lab over "
        "HTTP, pull it, and verify the receipt. No money moves. Run it again: it goes on in the "
        "same world."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="folder", metavar="DIR", type=Path, help="your own files, of any kind"
        )

    def handle(self, *args: Any, folder: Path | None, **options: Any) -> None:
        if not settings.DEVELOPMENT:
            raise CommandError("The demonstration needs LICET_DEBUG=1; use `make demo`.")
        if folder is not None and not folder.expanduser().is_dir():
            raise CommandError(f"{folder} is not a folder. Try: make demo FROM=/any/folder")
        script = demo.Script()
        try:
            self._play(script, folder.expanduser().resolve() if folder else None)
        except (demo.DemoFailed, demo_opt_out.Failed, processes.ProcessFailed) as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            raise CommandError("Stopped. Run it again: it goes on in the same world.") from None
        finally:
            script.end()

    def _play(self, script: demo.Script, folder: Path | None) -> None:
        with script.step("Database, tables, and the offline verifier are ready"):
            demo.migrate()
            demo.check_ledger()
            demo.build_offline()
            cast = demo.gather()
        with script.step("Web, delivery, worker and the simulated Stripe are up"):
            running = processes.running(processes.free_ports(3))
            world = running.__enter__()
        try:
            works, grant = demo.Story(script, world, cast, folder).tell()
        finally:
            running.__exit__(None, None, None)
        print(f"demo: licensed {works} works, grant {grant}, receipt verified", flush=True)
        print("Next: make run")
