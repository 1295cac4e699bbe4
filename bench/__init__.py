"""Measurements against the raw engine, in one run on one machine: ratios count, not absolutes. `python -m bench --help`."""
