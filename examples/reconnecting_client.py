"""A client that does not give up: when the connection is lost, it waits a while and connects again.

Run: python examples/reconnecting_client.py [ws://127.0.0.1:8765/news]
Try: start it, then gevent_fan_out.py or another server, and stop and start that a few times.

The pauses grow, so that a server in trouble is not asked all the time (backoff). Each is drawn at random from the whole
range, so that a thousand clients that lost it at the same moment do not come back at the same moment (jitter).
"""

from __future__ import annotations

import random
import ssl
import sys
import time

import syncws

FIRST, LONGEST = 0.5, 30.0  # seconds
# Statuses of a refusal that may be another one next time: too many requests, and errors of servers and proxies.
TEMPORARY = {0, 408, 425, 429, 500, 502, 503, 504}


def listen(uri: str) -> None:
    """Print what comes until the server says that it was all; reconnect as long as it does not."""
    limit = FIRST
    while True:
        try:
            with syncws.connect(uri) as ws:
                print("connected", flush=True)
                for message in ws:
                    print(message, flush=True)
                    limit = FIRST  # it works; a connection that is lost at once would not prove it
                if ws.close_code == 1000:
                    return
                reason = f"closed with {ws.close_code} {ws.close_reason}"
        except syncws.HandshakeError as error:
            if error.status not in TEMPORARY:
                sys.exit(f"refused: {error}")  # it would be refused again
            reason = str(error)
        except ssl.SSLCertVerificationError as error:
            sys.exit(f"not to be trusted: {error}")
        except OSError as error:  # of the network; ConnectionClosed and TimeoutError are such, too
            reason = str(error)
        pause = random.uniform(0, limit)
        limit = min(2 * limit, LONGEST)
        print(f"{reason}; next try in {pause:.1f} seconds", flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    try:
        listen(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765/news")
    except KeyboardInterrupt:
        sys.exit(130)
