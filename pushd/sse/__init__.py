"""Server-sent events: hints for clients that cannot have a WebSocket."""
