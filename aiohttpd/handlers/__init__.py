"""What can be an App: the handler class and all that it offers, forms, events, WSGI; and how an App is resolved."""
