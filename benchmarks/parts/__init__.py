"""What several benchmarks need; no scripts."""
