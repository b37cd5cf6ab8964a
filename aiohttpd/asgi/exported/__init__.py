"""What an exported App has in place of a connection: an ASGI server runs it.

Owns what our connection does on our own server: `request` makes a request of a scope, `intake` receives its body,
`encoder` makes messages of the answer, `sender` sends them. Handlers see `peer` as their connection and `server` as
their server. `unframing` reads what handlers of ``http.server`` write, and `websocket` carries a WebSocket.
"""
