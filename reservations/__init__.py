"""Machines, reservations, allocations (planned)."""
