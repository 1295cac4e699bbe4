"""The node program: dials out to the panel and runs containers. Imports no Django (an import contract holds that)."""

__version__ = "0.1.0"
