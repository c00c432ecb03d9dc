"""Everything that is not hot, on Quart-Trio and Hypercorn. The only place that knows them."""
