"""What every kind of provider asks of its settings, and how it says what is wrong with them."""

from __future__ import annotations

import re

import httpx2

from safelight.providers.models import InvalidModelData, ModelTable, load_models
from safelight.providers.registry import InvalidConfiguration, ProviderConfig


def required_key(name: str, config: ProviderConfig, *, kind: str, variable: str | None = None) -> str:
    """The API key. Raises InvalidConfiguration when there is none, or none that a header could carry.

    `variable` is the vendor's usual one, which is looked at where no base URL is set.
    """
    if not config.api_key:
        usual = f", or {variable}" if variable and config.base_url is None else ""
        raise InvalidConfiguration(f"provider `{name}` of kind `{kind}` needs an API key: set its `api_key`{usual}")
    if not re.fullmatch(r"[!-~]+", config.api_key):
        raise InvalidConfiguration(f"the API key of provider `{name}` has a space or a character beyond ASCII in it")
    return config.api_key


def checked_url(name: str, config: ProviderConfig) -> str | None:
    """The base URL, if one is set, without a slash at its end.

    Raises InvalidConfiguration when it is not http or https, when what is asked for cannot be written behind it, and
    when nothing could be connected to.
    """
    url = config.base_url
    if url is None:
        return None
    if not re.match(r"https?://[^/\s]", url):
        raise InvalidConfiguration(f"the base URL of provider `{name}` must begin with http:// or https://")
    if not re.fullmatch(r"[^\s?#]+", url):
        raise InvalidConfiguration(f"the base URL of provider `{name}` has a space, a `?` or a `#` in it")
    # Not with the library's words: they quote the URL, which may hold a password.
    try:
        parsed = httpx2.URL(url)
        parsed.raw_host.decode("ascii").encode("idna")  # as the resolver does, with its own idea of a name's length
    except (httpx2.InvalidURL, UnicodeError):
        raise InvalidConfiguration(f"the base URL of provider `{name}` has a host or port that there is not") from None
    if parsed.port is not None and not 1 <= parsed.port <= 65535:
        raise InvalidConfiguration(f"the base URL of provider `{name}` has a host or port that there is not")
    return url.rstrip("/")


def model_table(name: str, config: ProviderConfig, vendor: str) -> ModelTable:
    """The vendor's models and the operator's own. Raises InvalidConfiguration when these are described wrongly."""
    try:
        return load_models(vendor, more=config.models)
    except InvalidModelData as error:
        raise InvalidConfiguration(f"provider `{name}`: {error}") from error
