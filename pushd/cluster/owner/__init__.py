"""The node that owns the log, for the others: what it tells them, and what it knows of them."""
