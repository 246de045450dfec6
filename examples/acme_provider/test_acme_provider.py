"""`pip install -e '.[test]' && pytest`"""

from __future__ import annotations

import base64
from typing import ClassVar

from acme_provider import AcmeProvider

from safelight.providers.registry import ProviderConfig
from safelight.testing import Case, ProviderConformance, Reply, Scene, SeenRequest


class TestAcme(ProviderConformance):
    model = "draw-2"
    retired_model = "draw-1"
    options: ClassVar = {"aspect_ratio": "16:9", "seed": 7}
    retry_after_seconds = 5.0

    def build(self, config: ProviderConfig) -> AcmeProvider:
        return AcmeProvider.from_config("acme", config)

    def reply(self, scene: Scene, _: SeenRequest) -> Reply:
        match scene.case:
            case Case.REFUSAL:
                return Reply.json({"message": scene.words}, status=451)
            case Case.RATE_LIMIT:
                return Reply.json({"message": scene.words}, status=429, headers={"retry-after": "5"})
            case Case.BAD_KEY:
                return Reply.json({"message": scene.words}, status=401)
            case Case.SERVER_ERROR:
                return Reply.json({"message": scene.words}, status=500)
            case _:
                return Reply.json({"png": base64.b64encode(scene.picture).decode()})
