"""Composition root and kernel; owns no domain table."""

__version__ = "0.1.0"
