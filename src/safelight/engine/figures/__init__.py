"""What became of everything, in figures: for people, for /metrics, for alerts and for the doctor."""
