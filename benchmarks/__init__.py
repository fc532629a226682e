"""Measurements: each prints a table, and ratios of things measured in one run."""
