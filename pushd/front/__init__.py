"""The front: accepts, reads requests, serves the hot routes itself, hands everything else over."""
