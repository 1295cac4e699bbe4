"""What people run: desired and observed state, ports, logs, stats, the browser's socket."""
