"""Sources, hostgroups, bindings and schedules as one document that can live in git: written out, and applied."""
