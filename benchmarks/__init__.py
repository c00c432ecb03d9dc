"""Side by side with the naive forms: ``python -m benchmarks`` (see README.md)."""
