"""`python -m webapp.embedded run|stop|clean`: what the Makefile calls."""

from __future__ import annotations

import argparse
import os
import sys

from webapp.embedded.environment import read_choices
from webapp.embedded.stack import clean, explained, run, stop

COMMANDS = {"run": run, "stop": stop, "clean": clean}


def main() -> int:
    """Do the command that is named and give its exit status."""
    parser = argparse.ArgumentParser(prog="python -m webapp.embedded", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    command = COMMANDS[parser.parse_args().command]
    return explained(command, read_choices(os.environ))  # noqa: TID251 - the edge of the stack


if __name__ == "__main__":
    sys.exit(main())
