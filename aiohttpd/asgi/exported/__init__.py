"""What stands behind an App that a server of ASGI runs.

Owns what our connection does on our own server: `request` makes a request of a scope, `intake` receives its body,
`encoder` makes messages of the answer, `sender` sends them, and `peer` is what handlers know of all this.
"""
