"""Hosts and hostgroups: who there is, and who belongs where."""
