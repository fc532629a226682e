"""`make demo`: the main job for real, on three demo hosts of this machine."""
