"""People, roles, capabilities, sessions, tokens."""
