"""Bodies and answers of the operations. All times are ms since 1970."""
