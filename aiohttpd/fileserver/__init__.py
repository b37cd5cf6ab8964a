"""The file server: `SimpleHTTPRequestHandler`, listings, uploads, and the App that ``aiohttpd serve DIR`` runs."""
