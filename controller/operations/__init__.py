"""Running the controller: health, metrics, logs, keys."""
