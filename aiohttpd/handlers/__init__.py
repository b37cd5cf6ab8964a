"""What can be an App: handler classes, routers, forms, files, events, WebSockets, WSGI; and how an App is resolved."""
