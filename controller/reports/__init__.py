"""The reports slice: what came of `ansible-playbook` runs that the controller did not start."""
