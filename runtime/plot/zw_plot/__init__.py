# SPDX-License-Identifier: MIT
"""Pictures of what the tools write, as SVG; no display and nothing but Python's own library."""
