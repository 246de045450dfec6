"""What operators see to: accounts, keys, the queue, and what they should know."""
