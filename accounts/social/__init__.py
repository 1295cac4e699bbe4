"""Signing in by GitHub and Discord: allauth speaks the protocol, this decides what an answer is worth."""
