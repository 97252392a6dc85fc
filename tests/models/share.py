# SPDX-License-Identifier: MIT
"""What a build with sanitizers runs of many cases of one kind (Documentation/testing.md, "Shares")."""

import os

N = int(os.environ.get("ZW_TEST_SHARE", "1"))
# Everything is run.
WHOLE = N <= 1


def of(cases):
    """One of $ZW_TEST_SHARE cases that take the same code, the first of them among them; without it all."""
    return list(cases)[::max(N, 1)]
