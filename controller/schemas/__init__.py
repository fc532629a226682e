"""JSON Schemas of files that people write for plugfleet, for their editors."""
