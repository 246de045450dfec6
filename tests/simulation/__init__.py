"""The whole engine in one process, with time, crashes, vendors and storage in the hands of a state machine."""
