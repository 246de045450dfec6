"""The receipt of a picture that nobody bought."""

from __future__ import annotations

import hashlib

from safelight.domain.money import CostBasis
from safelight.storage.staging import Receipt

BYTES = b"paid for" * 1_000


def receipt_for(attempt_id: str = "att_1", data: bytes = BYTES) -> Receipt:
    return Receipt(
        attempt_id=attempt_id,
        image_row_id=4711,
        job_id="job_1",
        sha256=hashlib.sha256(data).hexdigest(),
        length=len(data),
        claimed_mime="image/png",
        cost_microusd=39_000,
        cost_basis=CostBasis.USAGE,
        price_ref="gemini@2026-11",
        request_id=None,
        model_version=None,
        received_at="2026-11-20T22:04:05Z",
    )
