"""Run the simulated Stripe: `python -m payments.simulator --port 8002 --state DIR`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from payments.simulator import webhook_controls
from payments.simulator.server import NotLoopback, Simulator

PORT = 12111


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C. Prints one line with the address when ready."""
    parser = argparse.ArgumentParser(prog="python -m payments.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=PORT, help="0 takes a free one")
    parser.add_argument("--state", type=Path, help="keep the account in this directory")
    parser.add_argument("--webhook-url", default="", help="where events are delivered")
    parser.add_argument(
        "--webhook-secret",
        default=os.environ.get("STRIPE_WEBHOOK_SECRET", "whsec_simulator").split(",")[0],
        help="signs deliveries; two, with a comma between them, while one is rolled",
    )
    parser.add_argument(
        "--events",
        choices=webhook_controls.STYLES,
        default="snapshot",
        help="deliver events with their object, thinly, or both",
    )
    parser.add_argument(
        "--country", default="US", type=str.upper, help="the platform's, in two letters"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        simulator = Simulator(
            host=options.host,
            port=options.port,
            directory=options.state,
            webhook_url=options.webhook_url,
            webhook_secret=options.webhook_secret,
            country=options.country,
            event_style=options.events,
        )
    except (NotLoopback, OSError) as error:
        print(f"The simulator cannot start: {error}", file=sys.stderr)
        return 1

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Not from this thread: it is the one that serves.
        threading.Thread(target=simulator.stop).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"Simulated Stripe at {simulator.url}", flush=True)
    simulator.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
