"""What is shown of a machine's host key."""

from __future__ import annotations


def fingerprint(host_key: str) -> str:
    """`SHA256:…`; empty for no key. Raises asyncssh.KeyImportError for what is no key."""
    if not host_key:
        return ""
    import asyncssh  # here: it takes a tenth of a second, which no start of a panel needs to spend

    found: str = asyncssh.import_public_key(host_key).get_fingerprint()
    return found
