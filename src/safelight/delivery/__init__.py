"""What becomes of an event: shown to whoever watches, posted to whoever asked for it."""
