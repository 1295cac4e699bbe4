"""Backups of data folders: packing them as a stream, and putting one back whole or not at all."""
