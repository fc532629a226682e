"""The portal slice: an existing Open-Falcon portal is kept in step with us, we with it, or taken over."""
