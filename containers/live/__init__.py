"""What browsers see live: the client socket `/ws` and the log and stats feeds behind it."""
