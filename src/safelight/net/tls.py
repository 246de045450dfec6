"""Whom this process trusts: the public authorities that the HTTP library brings, read once."""

from __future__ import annotations

import ssl
from functools import cache

import httpx2


@cache
def public_authorities() -> ssl.SSLContext:
    """One context for every client: reading the authorities takes longer than everything else that makes a client. The
    environment's own (`SSL_CERT_FILE`) are left out."""
    return httpx2.create_ssl_context(trust_env=False)
