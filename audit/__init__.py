"""The journal: one append-only row per fact."""
