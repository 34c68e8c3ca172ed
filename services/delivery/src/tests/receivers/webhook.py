"""A receiver of webhooks on a free port. Its arguments: the secret, empty when signatures are not looked at; a file with
a certificate beside its key, without which it speaks plain http. What it answers follows from the path: /ok, /busy, /gone,
/redirect, /slow, /once (slow the first time).

Prints its port, then a line for each webhook: the path, whether its signature is right, and its id.
"""

import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

ANSWERS = {"/ok": 204, "/busy": 503, "/gone": 410, "/redirect": 302, "/slow": 204, "/once": 204}


class Handler(BaseHTTPRequestHandler):
    seen = set()

    def verdict(self, body):
        if not sys.argv[1]:
            return "unchecked"
        try:
            Webhook(sys.argv[1]).verify(body, {name.lower(): value for name, value in self.headers.items()})
            return "verified"
        except WebhookVerificationError as error:
            return f"refused({error})"

    def do_POST(self):
        verdict = self.verdict(self.rfile.read(int(self.headers["content-length"])))
        slow = self.path == "/slow" or (self.path == "/once" and self.path not in self.seen)
        self.seen.add(self.path)
        # In one piece: many threads write.
        sys.stdout.write(f"{self.path} {verdict} {self.headers['webhook-id']}\n")
        sys.stdout.flush()
        if slow:
            time.sleep(30)
        self.send_response(ANSWERS[self.path])
        if self.path == "/redirect":
            self.send_header("location", "/ok")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[2].removesuffix(".crt") + ".key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
