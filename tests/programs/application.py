"""An ASGI application that says on which loop it runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CHUNKS = [bytes([letter]) * 10_000 for letter in b"abcdefghij"]


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """``/loop``: the class of the loop; ``/echo``: the body; ``/stream``: ten pieces."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    if scope["path"] == "/loop":
        loop = type(asyncio.get_running_loop())
        await answer(send, json.dumps([loop.__module__, loop.__qualname__]).encode())
    elif scope["path"] == "/echo":
        await answer(send, await body_of(receive))
    elif scope["path"] == "/stream":
        await stream(send)
    else:
        await answer(send, b"unknown", status=404)


async def live(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def body_of(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def answer(send: Send, body: bytes, *, status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for chunk in CHUNKS:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})
