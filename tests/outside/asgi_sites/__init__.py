"""Small sites by frameworks of others, each with the main things that it is used for; servers of ASGI load them."""
