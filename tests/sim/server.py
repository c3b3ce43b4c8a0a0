"""A small HTTP/1.1 server, on loopback only, in front of the simulated service."""

import asyncio
from typing import Final

from tests.sim.control import PREFIX, Control
from tests.sim.service import Reply, Service
from tests.sim.wire import BadRequestError, Request, respond, take_request

HOST: Final = "127.0.0.1"
HELD: Final = 0.01  # seconds between two checks whether a held answer may go


class Connection(asyncio.BufferedProtocol):
    """One keep-alive connection; its requests are answered one after the other."""

    def __init__(self, control: Control, loop: asyncio.AbstractEventLoop) -> None:
        """Serve from the current service of `control`."""
        self._control = control
        self._loop = loop
        self._arrived = bytearray(65536)  # a buffer of our own: asyncio would allocate one for every read
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._open: tuple[Service, Reply] | None = None
        self._last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the requests that are not answered yet: nobody reads the answers."""
        del exc
        self._transport = None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._leave()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return the buffer for the next bytes."""
        del sizehint
        return self._arrived

    def buffer_updated(self, nbytes: int) -> None:
        """Collect bytes; begin the next request unless one is being answered."""
        self._buffer += memoryview(self._arrived)[:nbytes]
        self._advance()

    def _advance(self) -> None:
        while self._timer is None and self._transport is not None:
            try:
                request = take_request(self._buffer)
            except BadRequestError as error:
                self._transport.write(respond(400, str(error).encode(), "text/plain"))
                self._hang_up()
                return
            if request is None:
                return
            self._last = request.headers.get("connection", "").lower() == "close"
            if request.path.startswith(PREFIX):
                self._begin(Reply(self._control.handle(request)))
            else:
                self._serve(request)

    def _serve(self, request: Request) -> None:
        service = self._control.service
        reply = service.handle(request)
        # Keep the service: a reset before the answer must not change the new service's log.
        self._open = (service, reply)
        self._begin(reply)

    def _begin(self, reply: Reply) -> None:
        if reply.delay > 0 or reply.held:
            self._timer = self._loop.call_later(reply.delay, self._wake, reply)
        else:
            self._finish(reply)

    def _wake(self, reply: Reply) -> None:
        self._timer = None
        if reply.held and self._open and self._open[0].faults.holding:
            self._timer = self._loop.call_later(HELD, self._wake, reply)
            return
        self._finish(reply)
        self._advance()

    def _finish(self, reply: Reply) -> None:
        self._leave()
        if self._transport is None:
            return
        if reply.data is not None:
            self._transport.write(reply.data)
        if reply.close or self._last:
            self._hang_up()

    def _leave(self) -> None:
        served, self._open = self._open, None
        if served is not None:
            service, reply = served
            if reply.call is not None:
                service.log.leave(reply.call, service.clock())

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None


async def serve(control: Control, port: int) -> asyncio.Server:
    """Listen on the loopback interface; port 0 lets the system choose."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(control, loop), HOST, port)
