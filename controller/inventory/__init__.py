"""The inventory slice: the fleet as Ansible reads it."""
