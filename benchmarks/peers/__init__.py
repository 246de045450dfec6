"""Safelight beside what people use today: the same work, in one run, taking turns."""
