"""The options as keyword arguments of `run` and others, for type checkers and editors.

At run time nothing imports it. A test compares it with `Config`.
"""

from typing import TypedDict

__all__ = ["Options"]


class Options(TypedDict, total=False):
    """Fields of `Config`, each of which may be left out."""

    access_log: bool
    access_log_format: str
    metrics: str
    health: str
    server_header: bool
    debug: bool
    timeout_head: float
    timeout_body: float
    timeout_write: float
    timeout_idle: float
    timeout_handshake: float
    timeout_handler: float
    timeout_linger: float
    timeout_drain_idle: float
    timeout_grace: float
    shutdown_delay: float
    timeout_retire: float
    timeout_retire_idle: float
    timeout_heartbeat: float
    recycle_requests: int
    recycle_age: float
    recycle_rss: int
    processes: int
    min_rate: int
    limit_request_line: int
    limit_field: int
    limit_head: int
    limit_fields: int
    limit_elements: int
    limit_body: int
    limit_json: int
    limit_chunk_extension: int
    limit_chunk_extensions: int
    limit_discard: int
    limit_unsent: int
    max_connections: int
    max_in_flight: int
    max_background: int
    worker_threads: int
    limit_queue: int
    limit_spools: int
    backlog: int
    reuse_port: bool
    websocket_ping_interval: float
    websocket_ping_timeout: float
    websocket_close_timeout: float
    limit_websocket_message: int
    limit_websocket_frames: int
    limit_websocket_queue: int
    root_path: str
    hosts: str
    trusted_proxies: str
    trusted_fields: str
    proxy_protocol: bool
