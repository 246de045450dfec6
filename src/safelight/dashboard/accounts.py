"""Package D3's, being written by a helper of its own."""
