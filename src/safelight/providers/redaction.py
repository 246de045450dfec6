"""A vendor's words, made fit for our records: no key, no prompt, at most 500 characters."""

from __future__ import annotations

import re

MESSAGE_MAX_CHARS = 500

_WINDOW_CHARS = 16
"""A run of the prompt this long is taken for an echo of it. Chosen: longer than the phrases any two sentences
share."""


def redact(message: str, *, api_key: str, prompt: str) -> str:
    """Echoes of the prompt are found in part too (a vendor cuts and escapes what it quotes), from 16
    characters on.

    A prompt shorter than that is replaced where it stands alone. Replaced first, cut afterwards, so that no
    half of a key is left at the end.
    """
    safe = message.replace(api_key, "[key]") if api_key else message
    wanted = prompt.strip()
    if len(wanted) >= _WINDOW_CHARS:
        safe = _without_echo(safe, wanted)
    elif wanted:
        safe = re.sub(rf"(?<!\w){re.escape(wanted)}(?!\w)", "[prompt]", safe)
    return safe[:MESSAGE_MAX_CHARS]


def _without_echo(message: str, prompt: str) -> str:
    windows = {prompt[start : start + _WINDOW_CHARS] for start in range(len(prompt) - _WINDOW_CHARS + 1)}
    kept: list[str] = []
    position = echo_end = 0
    while position < len(message) and len(kept) < MESSAGE_MAX_CHARS:
        if message[position : position + _WINDOW_CHARS] in windows:
            if position >= echo_end:
                kept.append("[prompt]")
            echo_end = position + _WINDOW_CHARS
        if position >= echo_end:
            kept.append(message[position])
        position += 1
    return "".join(kept)
