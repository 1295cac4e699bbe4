"""Reservations: machines for a while, and clean again afterwards."""
