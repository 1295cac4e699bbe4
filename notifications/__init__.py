"""Webhooks, e-mail, in-console inbox (planned)."""
