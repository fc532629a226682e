"""The HTTP edge: what all API routes share."""
