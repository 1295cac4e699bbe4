"""Acts on machines and reservations. Doors check permission; these don't."""
