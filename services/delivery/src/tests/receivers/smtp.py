"""An SMTP server on a free port. What it does follows from the recipient: accept@, once@ (deferred
the first time), defer@, reject@, hang@, die@.

Its arguments: a file with a certificate beside its key, empty: it offers no STARTTLS; the mechanism by which
it lets `relay` in with the password `secret`, empty: it lets everybody in. Without TLS it takes a password in clear,
and says so.

Prints its port, then a line for each message whose data it has read: the recipient and the Message-ID. With arguments
also a line for each AUTH and MAIL before that, and whether it came through TLS.
"""

import asyncio
import email
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

certificate, mechanism = (sys.argv[1:] + ["", ""])[:2]


def way(session):
    return "tls" if session.ssl else "clear"


def authenticate(server, session, envelope, name, data):
    right = (data.login, data.password) == (b"relay", b"secret")
    print(f"{way(session)} AUTH {name} {'right' if right else 'wrong'}", flush=True)
    return AuthResult(success=right, handled=False)


class Handler:
    deferred = set()

    async def handle_MAIL(self, server, session, envelope, address, options):
        if certificate or mechanism:
            print(f"{way(session)} MAIL", flush=True)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("reject@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        address = envelope.rcpt_tos[0]
        message = email.message_from_bytes(envelope.content)
        print(f"{address} {message['Message-ID']}", flush=True)
        if address.startswith("defer@"):
            return "451 4.3.0 later"
        if address.startswith("once@") and address not in self.deferred:
            self.deferred.add(address)
            return "451 4.3.0 later"
        if address.startswith("hang@"):
            await asyncio.sleep(3600)
        if address.startswith("die@"):
            server.transport.abort()
            await asyncio.sleep(3600)
        return "250 2.0.0 queued as 7"


def protocol():
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.removesuffix(".crt") + ".key")
    return SMTP(
        Handler(),
        hostname="receiver",
        tls_context=context,
        authenticator=authenticate,
        auth_required=bool(mechanism),
        auth_require_tls=bool(certificate),
        auth_exclude_mechanism={"PLAIN", "LOGIN"} - {mechanism},
    )


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
