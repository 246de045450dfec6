"""Pictures as bytes: those that were made, one by one or all at once, and those that others are made from."""
