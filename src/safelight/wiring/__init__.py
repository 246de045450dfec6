"""Puts the parts together: the only place that knows both the settings and the concrete adapters."""
