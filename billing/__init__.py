"""Catalog, subscriptions, usage, ledger (planned)."""
