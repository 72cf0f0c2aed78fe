"""What the benchmarks share: the machine, tables, percentiles, progress."""
