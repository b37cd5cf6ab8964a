"""Routing: patterns, the tree, routers, functions as routes, errors in one place."""
