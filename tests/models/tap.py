# SPDX-License-Identifier: MIT
"""TAP on standard output, for the test programs here."""

_count = 0
_failed = 0


def ok(good, name, detail=""):
    """A test's line; with detail, why it failed."""
    global _count, _failed
    _count += 1
    _failed += not good
    print(f"{'' if good else 'not '}ok {_count} - {name}")
    if not good and detail:
        print("# " + str(detail).replace("\n", "\n# "))


def done():
    """The plan, after all tests. Returns the exit status."""
    print(f"1..{_count}")
    return 1 if _failed else 0
