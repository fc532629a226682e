"""Deployments that begin by themselves: when, what, with whose rights, and here or as a schedule of AWX's."""
