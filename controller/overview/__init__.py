"""The fleet at a glance: what `plugfleet status` shows first."""
