"""The plans slice: what each host should have, why, and what a change would come to."""
