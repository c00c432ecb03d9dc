"""What nodes tell each other through Redis, and nothing but that knows Redis."""
