"""What panel and agent say to each other: pure declarations, the only part of `agent` that the panel may import."""
