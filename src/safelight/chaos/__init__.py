"""Whether a run kept the promise, judged from outside; and the storm that a run is put through."""
