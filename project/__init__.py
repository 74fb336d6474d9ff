"""What the benchmarks, the tools and the tests share: they stand above it, side by side, and do not know each other."""
