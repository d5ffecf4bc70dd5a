#!/usr/bin/env python
"""Django's command line for the control plane."""

import os  # the settings module has to be named before Django reads anything
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")  # noqa: TID251
    execute_from_command_line(sys.argv)
