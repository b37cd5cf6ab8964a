"""Apps around Apps: authentication, and which hosts are answered. Compression has a door of its own."""
