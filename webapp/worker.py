"""`python -m webapp.worker --concurrency 4`: the Celery worker, with threads.

Celery's own command line does the same, and loads an interactive shell of its own for it.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from webapp.celery_app import app


def main() -> int:
    """Run jobs until the process is told to stop; give its exit status."""
    parser = ArgumentParser(prog="python -m webapp.worker", description=__doc__)
    parser.add_argument("--concurrency", type=int, default=4, help="jobs at once")
    worker = app.Worker(
        pool="threads",
        concurrency=parser.parse_args().concurrency,
        loglevel="INFO",
        # workers have nothing to tell each other
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
