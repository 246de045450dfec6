"""What became of everything, in figures: for people, and for /metrics. Reads only, but for the tally."""
