"""WebSockets (RFC 6455), with permessage-deflate (RFC 7692), on the sans-I/O core of the library ``websockets``.

Owns what is between that core and a connection of ours: `handshake` answers the request that opens one, `websocket` has
its messages, back-pressure and end, `block` is what ``async with self.websocket()`` of a handler runs in. Who has an
`App` of another kind (ASGI, say) makes a `Handshake` of request and response, and accepts it, or answers otherwise::

    handshake = Handshake(request, response)             # HTTPError 400, 403, 405, 426 where it is none
    socket = handshake.accept(subprotocol="chat", headers=[("X-A", "b")])
    message = await socket.receive()                     # str or bytes; ConnectionClosed at the end
    await socket.send(message)
    await socket.close(1000)
"""
