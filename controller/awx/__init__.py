"""AWX as it is spoken to: its REST API, what a job template must be, and the events of a job."""
