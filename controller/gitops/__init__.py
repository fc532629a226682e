"""Sources, hostgroups and bindings as one document that can live in git: written out, and applied."""
