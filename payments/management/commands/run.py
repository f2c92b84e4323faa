"""`manage.py run`: web, delivery, worker and the simulated Stripe, until Ctrl-C."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, connections

from marketplace import devdb
from payments import demo, processes


class Command(BaseCommand):
    help = "Run the whole market on this machine, on the world that `make demo` left."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port",
            type=int,
            default=processes.FIRST_PORT,
            help="the web port; delivery and simulator take the next two (default: %(default)s)",
        )
        parser.add_argument(
            "--empty", action="store_true", help="do not fill a new market with a small world"
        )

    def handle(self, *args: Any, port: int, empty: bool = False, **options: Any) -> None:
        if not settings.DEVELOPMENT:
            raise CommandError("`run` is for trying Licet out and needs LICET_DEBUG=1.")
        ports = [port, port + 1, port + 2]
        if not 0 < ports[0] <= ports[-1] < 2**16:
            raise CommandError(f"There is no port {port} with two after it. Try --port 9000")
        for each in ports:
            if not processes.is_free(each):
                raise CommandError(
                    f"Port {each} is taken. End what listens there, or choose others:"
                    " .venv/bin/python manage.py run --port 9000"
                )
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            print("Starting …", flush=True)
            demo.migrate()
            _warn_of_the_ledger()
            demo.build_offline()
            cast = demo.gather()
            with processes.running(ports) as world:
                if not empty:
                    _fill(world, cast)
                self._welcome(world, cast)
                while True:
                    world.check()
                    time.sleep(0.5)
        except KeyboardInterrupt:
            _stop_database()
            print("\nStopped.")
        except (demo.DemoFailed, processes.ProcessFailed) as error:
            raise CommandError(str(error)) from None

    def _welcome(self, world: processes.World, cast: demo.Cast) -> None:
        web = world.web_url
        verify = "run `make demo` first, then this line shows how to verify its receipt"
        if cast.receipt and Path(cast.receipt).exists():
            receipt = Path(cast.receipt)
            verify = (
                f"python3 -I licet-offline.pyz verify --allow-test"
                f" --key {_near(receipt.with_name('ledger.vkey'))} {_near(receipt)}"
            ).replace("python3", ".venv/bin/python", 1)
        print(
            f"""
Licet runs. No money moves: Stripe is simulated.

  Listings        {web}/
  API reference   {web}/docs/        (with a key below: {web}/docs/try/)
  Admin           {web}/admin/       operator@demo.example / {demo.PASSWORD}
  Sign in         {web}/login/       archive@demo.example or lab@demo.example / {demo.PASSWORD}
  Workspace       {web}/studio/      {_who(cast)}

  Seller's key    {cast.archive_key}
  Lab's key       {cast.lab_key}

  Verify          {verify}

Try next, as the lab:
  curl -H "Authorization: Bearer {cast.lab_key}" {web}/v1/listings
  curl -H "Authorization: Bearer {cast.lab_key}" {web}/v1/grants

Ctrl-C stops all of it.
""",
            flush=True,
        )


def _fill(world: processes.World, cast: demo.Cast) -> None:
    """The market runs without its small world, or with half of it, too."""
    script = demo.Script()
    try:
        demo.fill_market(script, world, cast)
    except demo.DemoFailed as error:
        print(f"\nThe small world is not complete. {error}", flush=True)
    finally:
        script.end()


def _who(cast: demo.Cast) -> str:
    """Whose workspace shows something."""
    return "the same, and creator@demo.example" if cast.creator else "the same"


def _warn_of_the_ledger() -> None:
    """The market runs without its log, whose checkpoint may be needed to set it right."""
    try:
        demo.check_ledger()
    except demo.DemoFailed as error:
        print(f"\nReceipts wait. {error}", flush=True)


def _stop_database() -> None:
    """End the embedded server too, unless somebody else is using it."""
    data_dir = settings.DEVDB.data_dir
    if data_dir is None:
        return
    connections.close_all()
    connection.close_pool()  # type: ignore[attr-defined]
    if not _is_used(data_dir):
        devdb.stop(data_dir)


def _is_used(data_dir: Path) -> bool:
    """Whether others are connected. Asks as the administrator: the application sees no others."""
    with psycopg.connect(devdb.administrator_url(data_dir), autocommit=True) as admin:
        for _look in range(10):
            row = admin.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchone()
            if row == (0,):
                return False
            time.sleep(0.1)  # our own processes' connections may be about to end
    return True


def _near(path: Path) -> str:
    try:
        return str(path.relative_to(settings.BASE_DIR))
    except ValueError:
        return str(path)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
