"""Safelight for clients that speak OpenAI's images protocol: the same jobs, asked for and answered in another form."""
