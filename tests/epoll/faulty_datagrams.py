"""An echo server of datagrams whose system calls are made to fail; a child of the tests.

    python -m tests.epoll.faulty_datagrams asyncio|epoll

It prints its port. The datagram "quit" ends it; then it prints what has happened, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.epoll.datagrams import DatagramRecorder
from tests.epoll.twins import LOOPS

GIVE_UP = 20.0  # seconds


class Echo(DatagramRecorder):
    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401
        if data == b"quit":
            loop.stop()
        else:
            self.transport.sendto(data, addr)


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


loop = LOOPS[sys.argv[1]]()
reports: list[str] = []
loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
before = count_descriptors()
transport, protocol = loop.run_until_complete(
    loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
)
print(transport.get_extra_info("sockname")[1], flush=True)
loop.call_later(GIVE_UP, loop.stop)
loop.run_forever()
transport.abort()
loop.call_soon(loop.stop)
loop.run_forever()
left = count_descriptors() - before
loop.close()
print(json.dumps({"events": protocol.events, "reports": reports, "descriptors": left}), flush=True)
