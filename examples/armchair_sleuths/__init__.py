"""Armchair Sleuths: a daily mystery whose pictures arrive while the player reads. See README.md."""
