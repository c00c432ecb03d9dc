"""``python -m benchmarks.pulse PORT``: is the server there for others all the time?

Asks ``/readyz`` every few milliseconds until stdin ends, then prints how long the answers took.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time

EVERY_S = 0.005


def main(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took = []
    print("ready", flush=True)
    over = False
    while not over:  # once at least, however soon it is over
        began = time.monotonic()
        connection.request("GET", "/readyz")
        connection.getresponse().read()
        took.append(time.monotonic() - began)
        over = bool(select.select([sys.stdin], [], [], EVERY_S)[0])
    took.sort()
    result = {"count": len(took), "p50_s": took[len(took) // 2], "max_s": took[-1]}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
