"""From the backlog to a live worker: admission, dispatch, the worker itself, and the sweep that heals what was lost."""
