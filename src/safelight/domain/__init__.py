"""Pure values and rules: nothing here reads a clock, a socket or a database."""
