"""Doors of the billing API."""
