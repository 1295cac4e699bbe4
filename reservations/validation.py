"""What the fields of machines and reservations may be (pure).

Hosts and users are never part of a command line here, and still can't begin with a dash (C04).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from lormas.common.errors import FieldError

NAME: Final = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$")
RESERVED_NAMES: Final = frozenset({"import", "new", "rows", "available", "usage"})
HOST_LABEL: Final = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$")
USER: Final = re.compile(r"^[a-z_][a-z0-9_.-]{0,31}$")
LABEL_KEY: Final = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")
MAX_LABELS: Final = 32
KEY_KINDS: Final = (
    "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
)  # fmt: skip


def good_host(host: str) -> bool:
    """A host name, or an address of either kind (no brackets, no zone)."""
    if not host or len(host) > 253 or not host.isascii():
        return False
    try:
        return not ipaddress.ip_address(host).is_multicast and "%" not in host
    except ValueError:
        pass
    return all(HOST_LABEL.fullmatch(label) for label in host.removesuffix(".").split(".")) and not re.fullmatch(r"[0-9.]+", host)


def good_password(password: str) -> bool:
    """One printable line that fits every machine's tools: no colon trouble, no control characters."""
    return 0 < len(password) <= 128 and password.isprintable()


def one_public_key(text: str) -> str | None:
    """`kind base64 comment` of one line without options, or None. Options would run commands; a second line would be another key."""
    words = text.strip().split(" ", 2)
    if "\n" in text.strip() or "\r" in text or len(text) > 8192 or len(words) < 2 or words[0] not in KEY_KINDS:
        return None
    import asyncssh  # here: it takes a tenth of a second, which no start of a panel needs to spend

    try:
        key = asyncssh.import_public_key(" ".join(words[:2]))
    except (asyncssh.KeyImportError, ValueError):
        return None
    if words[0] == "ssh-rsa" and getattr(getattr(key, "pyca_key", None), "key_size", 4096) < 2048:
        return None
    return " ".join(words[:2])


def check_labels(labels: Any) -> list[FieldError]:
    wrong = []
    if len(labels) > MAX_LABELS:
        wrong.append(FieldError("labels", f"At most {MAX_LABELS} labels."))
    for key, value in list(labels.items())[: MAX_LABELS + 1]:
        if not LABEL_KEY.fullmatch(str(key)) or not isinstance(value, str) or len(value) > 128 or not value.isprintable():
            wrong.append(FieldError(f"labels.{str(key)[:64]}", "Keys are short names, values are text of at most 128 characters."))
    return wrong


def check_private_key(text: str) -> list[FieldError]:
    import asyncssh

    try:
        asyncssh.import_private_key(text)
    except asyncssh.KeyEncryptionError:
        return [FieldError("private_key", "It has a passphrase: give a key without one; it is stored encrypted.", "encrypted")]
    except (asyncssh.KeyImportError, ValueError):
        return [FieldError("private_key", "This is no private key that OpenSSH knows.")]
    return []


def check_machine(fields: dict[str, Any]) -> list[FieldError]:
    """What is wrong with the fields given; those that are absent are not looked at."""
    wrong: list[FieldError] = []
    name = fields.get("name")
    if name is not None and (not NAME.fullmatch(name) or name.lower() in RESERVED_NAMES):
        wrong.append(FieldError("name", "1 to 64 letters, digits, dots, dashes or underscores, beginning and ending with a letter or digit."))
    if "host" in fields and not good_host(fields["host"]):
        wrong.append(FieldError("host", "A host name or an IP address."))
    if "port" in fields and not 1 <= fields["port"] <= 65535:
        wrong.append(FieldError("port", "From 1 to 65535."))
    if "user" in fields and not USER.fullmatch(fields["user"]):
        wrong.append(FieldError("user", "A user name: lower-case letters, digits, dots, dashes, underscores; not beginning with a dash."))
    if fields.get("password") and not good_password(fields["password"]):
        wrong.append(FieldError("password", "One line of at most 128 printable characters."))
    if fields.get("private_key"):
        wrong += check_private_key(fields["private_key"])
    if fields.get("labels") is not None:
        wrong += check_labels(fields["labels"])
    return wrong
