"""Figures of a running Safelight, measured: `python -m benchmarks`. What each of them means is in docs/benchmarks.md."""
