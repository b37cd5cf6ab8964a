"""Layers: Apps around Apps. Basic authentication, and allowed host names; `aiohttpd.compression` is a layer, too."""
