#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The table of coefficients in time.md names every figure of a profile once, where it is from, and what it moves.

    coefficients.py qemu-device/core/cp/zw_profile.c Documentation/device/time.md
"""
import re
import sys

SOURCES = ("published", "measured", "fitted", "assumed")


def keys_of(source):
    """Names of the keys that a profile file may have, in the form that zw_profile.c lists them."""
    return re.findall(r"^\tU(?:32|64)\((\w+), ", source, re.MULTILINE)


def rows_of(page):
    """The cells of the rows of the table under "## Coefficients"."""
    part = page.partition("\n## Coefficients\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def mistakes(keys, rows):
    if not keys:
        yield "no keys were found in the source"
    named = []
    for row in rows:
        if len(row) != 4 or not all(row):
            yield f"{row[0]}: not four cells with something in them"
        elif not any(source in row[2] for source in SOURCES):
            yield f"{row[0]}: the source is none of {', '.join(SOURCES)}"
        named += row[0].split(", ")
    for key in keys:
        if named.count(key) != 1:
            yield f"{key}: is in the table {named.count(key)} times, not once"
    for name in named:
        if name not in keys:
            yield f"{name}: no profile has such a figure"


def main():
    with open(sys.argv[1], encoding="utf-8") as source, open(sys.argv[2], encoding="utf-8") as page:
        bad = list(mistakes(keys_of(source.read()), rows_of(page.read())))
    for line in bad:
        print(f"coefficients: {line}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
