"""Figures of a running Safelight: `python -m benchmarks`. What each of them means is in docs/benchmarks.md."""
