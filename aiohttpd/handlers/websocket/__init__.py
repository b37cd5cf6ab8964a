"""WebSockets (RFC 6455) with permessage-deflate (RFC 7692), on the sans-I/O core of the library ``websockets``.

`handshake` responds to the request that opens a WebSocket, `websocket` has messages, back-pressure and close, and
`block` is the context manager that ``self.websocket()`` of a handler returns. Other Apps (ASGI, for example) use
`Handshake` directly, and accept it or send another response::

    handshake = Handshake(request, response)             # HTTPError 400, 403, 405 or 426 if it is not valid
    socket = handshake.accept(subprotocol="chat", headers=[("X-A", "b")])
    message = await socket.receive()                     # str or bytes; ConnectionClosed at the end
    await socket.send(message)
    await socket.close(1000)
"""
