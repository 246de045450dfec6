"""What lies before images that wait, or are not ordered yet: how much, how long, at what price. Reads only."""
