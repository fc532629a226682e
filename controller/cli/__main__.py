"""`python -m controller.cli`: the same as `plugfleet`."""

from __future__ import annotations

from controller.cli import main

main()
