"""Socket.IO: rooms, sessions, answers to events; by polling and by WebSocket."""

from typing import Any

import socketio

sio: Any = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", ping_interval=1, ping_timeout=2)


@sio.event
async def connect(sid: str, environ: Any, auth: Any) -> None:
    if auth == {"who": "nobody"}:
        raise ConnectionRefusedError("who is it?")
    await sio.save_session(sid, auth)
    await sio.enter_room(sid, "all")


@sio.event
async def say(sid: str, data: Any) -> Any:
    await sio.emit("said", data, room="all")
    return {"who": (await sio.get_session(sid))["who"], "size": len(data)}


app = socketio.ASGIApp(sio)
