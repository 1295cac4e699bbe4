"""The console's own pages: dashboard, search, error pages, and what the frame around every page shows."""
