"""What needs programs or code of others: a browser, proxies, third-party handlers."""
