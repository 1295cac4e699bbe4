"""Container templates: versions, variables, import, rendering."""
