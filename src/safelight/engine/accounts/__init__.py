"""What an account owns and owes: its keys, its balance with every change of it, its styles and its uploads."""
