"""The controller's database: SQLite in one file (WAL), or PostgreSQL."""
