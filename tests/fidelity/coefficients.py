#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every member of struct zw_profile is a key of profile files, and the table of coefficients in time.md names every key
once, where it is from, and what it moves. What it moves is held against the rows by sensitivity.py.

    coefficients.py qemu-device/core/zw_profile.h qemu-device/core/cp/zw_profile.c Documentation/device/time.md
"""
import re
import sys

SOURCES = ("published: ", "measured: ", "fitted: ", "assumed: ")
# Not numbers that a time could depend on.
OTHER_MEMBERS = {"name", "id", "dtypes"}


def members_of(header):
    """Names of the members of struct zw_profile."""
    body = re.search(r"^struct zw_profile \{\n(.*?)^\};", header, re.MULTILINE | re.DOTALL)
    code = re.sub(r"/\*.*?\*/", "", body.group(1), flags=re.DOTALL) if body else ""
    return [re.match(r"\w+", name.strip()).group() for line in code.split(";") if line.strip()
            for name in line.split(None, 1)[1].split(",")]


def keys_of(source):
    """Names of the keys that a profile file may have, in the form that zw_profile.c lists them."""
    return re.findall(r"^\tU(?:32|64)\((\w+), ", source, re.MULTILINE)


def rows_of(page):
    """The cells of the rows of the table under "## Coefficients"."""
    part = page.partition("\n## Coefficients\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def mistakes(members, keys, rows):
    if not keys or not members:
        yield "no keys, or no members, were found in the source"
    for member in members:
        if member not in keys and member not in OTHER_MEMBERS:
            yield f"{member}: a member of struct zw_profile that no key sets"
    named = []
    for row in rows:
        if len(row) != 5 or not all(row):
            yield f"{row[0]}: not five cells with something in them"
        elif not row[2].startswith(SOURCES):
            yield f"{row[0]}: the source is none of {''.join(SOURCES)}"
        named.append(row[0])
    for key in keys:
        if named.count(key) != 1:
            yield f"{key}: is in the table {named.count(key)} times, not once"
    for name in named:
        if name not in keys:
            yield f"{name}: no profile has such a figure"


def main():
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    texts = []
    for path in sys.argv[1:4]:
        with open(path, encoding="utf-8") as f:
            texts.append(f.read())
    bad = list(mistakes(members_of(texts[0]), keys_of(texts[1]), rows_of(texts[2])))
    for line in bad:
        print(f"coefficients: {line}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
