"""The command `python -m tests.sim`: one simulator that ends with its parent."""

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from tests.sim.control import Control, configure
from tests.sim.server import HOST, serve
from tests.sim.service import Service


async def _run(control: Control, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def wait_for_parent() -> None:
        # The parent holds the other end. However the parent dies, the system closes that end.
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    server = await serve(control, port)
    bound = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"http://{HOST}:{bound}"}) + "\n")
    sys.stdout.flush()
    threading.Thread(target=wait_for_parent, daemon=True).start()
    await stop.wait()
    server.close()


def main() -> None:
    """Serve until SIGTERM or until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--config", type=Path, help="a JSON file of settings")
    options = parser.parse_args()
    service = Service()
    if options.config:
        configure(service, json.loads(options.config.read_bytes()), time.time())
    # Users and calls live until the end and hold no cycles: garbage collection would only cost time.
    gc.disable()
    asyncio.run(_run(Control(service, time.time), options.port))
    # Do not end the interpreter normally: a thread may still be blocked reading stdin.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
