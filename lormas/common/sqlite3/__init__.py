"""The SQLite backend with a pool (docs/adr): `base.DatabaseWrapper`."""
