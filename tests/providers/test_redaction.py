from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from safelight.providers.redaction import MESSAGE_MAX_CHARS, redact

PROMPT = "A brass key, bent and oily, in the library of Ada Vane"


def test_the_key_and_the_whole_prompt_are_replaced() -> None:
    assert redact(f"k-123 cannot draw {PROMPT}!", api_key="k-123", prompt=PROMPT) == "[key] cannot draw [prompt]!"


def test_a_prompt_quoted_in_part_is_replaced_in_part() -> None:
    message = f"blocked: {PROMPT[5:40]}... and {PROMPT[-20:]}"

    assert redact(message, api_key="k-123", prompt=PROMPT) == "blocked: [prompt]... and [prompt]"


def test_a_short_prompt_is_replaced_only_where_it_stands_alone() -> None:
    assert redact("a cat cannot concatenate", api_key="", prompt="cat") == "a [prompt] cannot concatenate"


def test_a_long_message_is_cut_after_replacing() -> None:
    message = "x" * (MESSAGE_MAX_CHARS - 3) + "SECRETKEY"

    safe = redact(message, api_key="SECRETKEY", prompt=PROMPT)

    assert safe == "x" * (MESSAGE_MAX_CHARS - 3) + "[ke"


@given(before=st.text(max_size=60), prompt=st.text(min_size=16, max_size=80), after=st.text(max_size=60))
def test_no_run_of_sixteen_characters_of_the_prompt_survives(before: str, prompt: str, after: str) -> None:
    wanted = prompt.strip()
    if len(wanted) < 16 or "[prompt]" in before + after:
        return

    safe = redact(before + prompt + after, api_key="", prompt=prompt)

    pieces = safe.split("[prompt]")
    windows = {wanted[start : start + 16] for start in range(len(wanted) - 15)}
    assert not any(window in piece for window in windows for piece in pieces)


def test_a_message_that_echoes_a_long_prompt_over_and_over_keeps_nobody_waiting() -> None:
    prompt = "".join(f"{number:x} brass keys on a rope, " for number in range(1200))
    begun = time.process_time()
    told = redact(f"no: {prompt * 1000}", api_key="secret", prompt=prompt)
    assert time.process_time() - begun < 1.0
    assert "brass" not in told
    assert told.startswith("no: [prompt]")
