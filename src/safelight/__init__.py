"""Safelight: durable image generation in front of paid, slow, flaky APIs."""

__version__ = "0.1.0"
