"""Joining with an onboarding key: the key is exchanged for this machine's own node and token."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from urllib.parse import urlsplit

from agent.config import ConfigError

SECONDS = 30
MOST_BYTES = 64 * 1024


def join(panel_url: str, key: str, *, instance_id: str, insecure: bool = False) -> str:
    """The token. A repeat by the same installation gets the same node. Raises ConfigError with what to do."""
    parts = urlsplit(panel_url)
    secure = parts.scheme in ("https", "wss")
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    if secure:
        context = ssl.create_default_context()
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        client: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)
    else:
        client = http.client.HTTPConnection(host, port, timeout=SECONDS)
    body = json.dumps({"hostname": socket.gethostname(), "instance_id": instance_id})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Accept": "application/json"}
    try:
        client.request("POST", parts.path.rstrip("/") + "/api/nodes/join", body=body, headers=headers)
        answer = client.getresponse()
        data = json.loads(answer.read(MOST_BYTES) or b"{}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ConfigError(f"{panel_url} did not take the onboarding key: {error}. Check the address, then try again.") from None
    finally:
        client.close()
    if answer.status != 201 or not isinstance(data, dict) or not data.get("token"):
        why = str(data.get("detail", "")) if isinstance(data, dict) else ""
        raise ConfigError(f"{panel_url} refused the onboarding key (HTTP {answer.status}): {why or 'no reason was given'}")
    return str(data["token"])
