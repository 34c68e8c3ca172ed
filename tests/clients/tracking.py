"""The stock SDK for Python, pointed at another host: says who customers are, then what they did, and prints the id of each
message that it took on.

    python tracking.py HOST WRITE_KEY MESSAGES

Ends with status 0 when every message was delivered.
"""

import sys

from segment.analytics.client import Client

CUSTOMERS = 20


def main(host: str, write_key: str, messages: int) -> int:
    failed = []
    client = Client(write_key, host=host, gzip=True, on_error=lambda error, batch: failed.append((error, len(batch))))
    for number in range(CUSTOMERS):
        traits = {"kind": "PHARMACIST", "market": "US", "given_name": f"Customer {number}"}
        taken(client.identify(f"c-{number}", traits))
    client.flush()
    for number in range(CUSTOMERS, messages):
        taken(client.track(f"c-{number % CUSTOMERS}", "Order Completed", {"total": number}))
    client.shutdown()
    print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


def taken(answer: tuple) -> None:
    is_taken, message = answer
    if not is_taken:
        raise SystemExit("the queue of the SDK is full")
    print(message["messageId"])


if __name__ == "__main__":
    host, write_key, messages = sys.argv[1:]
    sys.exit(main(host, write_key, int(messages)))
