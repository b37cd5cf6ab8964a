"""One HTTP/1.1 connection that serves an App: its states, request bodies, responses, failures, proxies, overload."""
