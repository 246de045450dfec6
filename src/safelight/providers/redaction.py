"""A vendor's words, made fit for our records: no key, no prompt, at most 500 characters."""

from __future__ import annotations

import re

MESSAGE_MAX_CHARS = 500

_WINDOW_CHARS = 16
"""A run of the prompt this long is taken for an echo of it. Chosen: longer than the phrases any two sentences
share."""

_LOOKED_AT_CHARS = 1_000_000
"""Of a longer message only the beginning is told. Chosen: looking for echoes in as much takes a tenth of a second."""


def redact(message: str, *, api_key: str, prompt: str) -> str:
    """Echoes of the prompt are found in part too (a vendor cuts and escapes what it quotes), from 16
    characters on.

    A prompt shorter than that is replaced where it stands alone. Replaced first, cut afterwards, so that no
    half of a key is left at the end.
    """
    safe = message.replace(api_key, "[key]") if api_key else message
    safe, wanted = safe[:_LOOKED_AT_CHARS], prompt.strip()
    if len(wanted) >= _WINDOW_CHARS:
        safe = _without_echo(safe, wanted)
    elif wanted:
        safe = re.sub(rf"(?<!\w){re.escape(wanted)}(?!\w)", "[prompt]", safe)
    return safe[:MESSAGE_MAX_CHARS]


def _without_echo(message: str, prompt: str) -> str:
    windows = {prompt[start : start + _WINDOW_CHARS] for start in range(len(prompt) - _WINDOW_CHARS + 1)}

    def is_echo(position: int) -> bool:
        return message[position : position + _WINDOW_CHARS] in windows

    kept: list[str] = []
    position = 0
    while position < len(message) and len(kept) < MESSAGE_MAX_CHARS:
        if is_echo(position):
            kept.append("[prompt]")
            # The furthest window that begins inside of this one is enough: what lies between belongs to both.
            while further := next(filter(is_echo, range(position + _WINDOW_CHARS - 1, position, -1)), None):
                position = further
            position += _WINDOW_CHARS
        else:
            kept.append(message[position])
            position += 1
    return "".join(kept)
