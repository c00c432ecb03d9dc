"""Several nodes: one owns the log, the others (edges) hold connections and follow it.

The product's own pattern, again: the owner's hints (numbers, through Redis) say what has changed,
an edge pulls the increment over HTTP, and nobody is shown what the owner has not confirmed.
"""
