# SPDX-License-Identifier: MIT
"""Modules that Debian packages belong to Debian's Python, which need not be the first one in the path."""

import importlib.util
import os
import sys

DEBIAN = "/usr/bin/python3"


def need(module):
    """Starts the program again under Debian's Python where this one has no such module."""
    if not importlib.util.find_spec(module) and os.path.realpath(sys.executable) != os.path.realpath(DEBIAN):
        os.execv(DEBIAN, [DEBIAN, *sys.argv])
