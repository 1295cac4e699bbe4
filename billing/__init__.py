"""Usage metering: what containers used by the hour (catalog, subscriptions and the ledger are planned)."""
