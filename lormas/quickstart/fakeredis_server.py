"""`python -m lormas.quickstart.fakeredis_server PORT`: Redis in Python on loopback, where no server can be had. Slow and forgetful."""

from __future__ import annotations

import sys

from fakeredis import TcpFakeServer


def main() -> None:
    with TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis") as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
