"""Hearing of what happens: pages, streams, and requests that wait."""
