"""WebSocket sessions on trio-websocket. The only place that knows that library on the server."""
