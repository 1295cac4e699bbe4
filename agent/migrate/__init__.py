"""The agent's part of moving a container to another node, and of keeping one that lives elsewhere from running here."""
