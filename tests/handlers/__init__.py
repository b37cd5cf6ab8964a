"""Handler classes and what else can be an App: the contract of http.server, input, output, forms, events, errors."""
