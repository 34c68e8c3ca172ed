"""A receiver of webhooks on a free port; its argument is the secret. What it answers follows from the path: /ok, /busy,
/gone, /redirect, /slow.

Prints its port, then a line for each webhook: the path, whether its signature is right, and its id.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

ANSWERS = {"/ok": 204, "/busy": 503, "/gone": 410, "/redirect": 302, "/slow": 204}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            Webhook(sys.argv[1]).verify(body, {name.lower(): value for name, value in self.headers.items()})
            verdict = "verified"
        except WebhookVerificationError as error:
            verdict = f"refused({error})"
        print(f"{self.path} {verdict} {self.headers['webhook-id']}", flush=True)
        if self.path == "/slow":
            time.sleep(30)
        self.send_response(ANSWERS[self.path])
        if self.path == "/redirect":
            self.send_header("location", "/ok")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
