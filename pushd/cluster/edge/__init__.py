"""A node that follows the owner's log: it mirrors heads, and asks for everything else."""
