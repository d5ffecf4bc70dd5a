"""`python -m webapp.beat SCHEDULE`: Celery beat, which says when a reconciler is due.

It decides nothing, so it loads none of our apps and reaches no database: half the memory of a
process that does.
"""

from __future__ import annotations

from argparse import ArgumentParser

from webapp.celery_parts import make_app

app = make_app(fixups=[])  # the one there is sets Django up


def main() -> None:
    """Send a message whenever something is due, until the process is told to stop."""
    parser = ArgumentParser(prog="python -m webapp.beat", description=__doc__)
    parser.add_argument("schedule", help="the file in which it remembers what it sent when")
    app.Beat(schedule=parser.parse_args().schedule, loglevel="INFO").run()


if __name__ == "__main__":
    main()
