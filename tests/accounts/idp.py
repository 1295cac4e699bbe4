"""An identity provider on loopback that speaks GitHub's and Discord's dialects, and misbehaves as a test wants.

It keeps the protocol: codes are good once and bound to client, address and PKCE challenge.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit


class IdentityProvider:
    """`github` and `discord` are what it says of the person that signs in there."""

    def __init__(self) -> None:
        self.github: Any = {}
        self.emails: Any = []
        self.discord: Any = {}
        self.fail: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        idp = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                idp.answer(self, b"")

            def do_POST(self) -> None:
                idp.answer(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def reset(self) -> None:
        self.fail.clear()
        self.codes.clear()
        self.asked.clear()

    def consent(self, authorize_url: str) -> str:
        """What a browser does there: says yes. Returns the callback it is sent back to, as path and query."""
        query = {key: values[0] for key, values in parse_qs(urlsplit(authorize_url).query).items()}
        assert query["response_type"] == "code" and query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        back = urlsplit(query["redirect_uri"])
        return f"{back.path}?{urlencode({'code': code, 'state': query['state']})}"

    # ---- its own side

    @staticmethod
    def say(handler: BaseHTTPRequestHandler, status: int, body: Any, *, raw: bytes | None = None) -> None:
        data = raw if raw is not None else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        path = urlsplit(handler.path).path
        self.asked.append(path)
        if path in self.fail:
            self.fail[path](handler)
            return
        if path in ("/login/oauth/access_token", "/api/oauth2/token"):
            self._token(handler, {key: values[0] for key, values in parse_qs(body.decode()).items()})
            return
        if not handler.headers.get("Authorization", "").endswith("the-token"):
            self.say(handler, 401, {"message": "Bad credentials"})
            return
        known = {"/api/v3/user": self.github, "/api/v3/user/emails": self.emails, "/api/users/@me": self.discord}
        self.say(handler, 200 if path in known else 404, known.get(path, {}))

    def _token(self, handler: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        good = asked is not None and (asked["code_challenge"], asked["redirect_uri"], asked["client_id"]) == (
            challenge,
            form.get("redirect_uri"),
            form.get("client_id"),
        )
        if good and form.get("client_secret") == "the-secret":
            self.say(handler, 200, {"access_token": "the-token", "token_type": "bearer", "scope": ""})
        else:
            self.say(handler, 400, {"error": "invalid_grant"})
