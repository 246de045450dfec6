"""The suite that every provider has to pass, ours and everyone else's."""

from __future__ import annotations

from safelight.testing.calls import CallTests
from safelight.testing.declared import DeclarationTests
from safelight.testing.jobs import RemoteJobTests


class ProviderConformance(DeclarationTests, CallTests, RemoteJobTests):
    """Tests of what the engine relies on. Derive a class from it whose name begins with `Test`, and pytest runs them.

        class TestAcme(ProviderConformance):
            model = "acme-draw-2"
            options = {"aspect_ratio": "16:9", "seed": 7}

            def build(self, config):
                return AcmeProvider.from_config("acme", config)

            def reply(self, scene, request):
                if scene.case is Case.SUCCESS:
                    return Reply.json({"image": base64.b64encode(scene.picture).decode()})
                ...

    `build(config)` makes the provider from a `ProviderConfig` that holds a key, a base URL and a `fetch` that reaches
    loopback. `reply(scene, request)` is the vendor: what it answers to that request in that `scene.case`.

        model                a model that can be bought
        options              fields of ImageRequest with values that this model takes: every kind that it takes
        retired_model        a model that the vendor switched off, if the provider's data names one
        unknown_model        one that nobody has
        retry_after_seconds  what `reply` asks for in Case.RATE_LIMIT; None when the vendor never says
        can_refuse           False for a vendor without a safety policy
        is_free              True when a picture by `model` costs nothing
        is_local             True for a provider that makes pictures itself and talks to nobody
        key, prompt          what is used; neither may show up where it does not belong
        patience_seconds     for any step that should take milliseconds

    Each test plays its scenes with vendors on loopback; nothing reaches the network. Broken connections, silence,
    redirects and senseless answers are the suite's own.
    """
