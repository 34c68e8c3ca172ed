"""An SMTP server on a free port. What it does follows from the recipient: accept@, once@ (deferred
the first time), defer@, reject@, hang@, die@.

Prints its port, then a line for each message whose data it has read: the recipient and the Message-ID.
"""

import asyncio
import email

from aiosmtpd.smtp import SMTP


class Handler:
    deferred = set()

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


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), hostname="receiver"), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
