"""The OpenAPI document is true: Schemathesis asks whatever it allows and what it forbids, and is answered as it says.

Every answer has a status, a content type, headers and a body that the document names for the operation; what the
document forbids is refused, what it allows is not, and nothing is ever our mistake. Without a right key nobody gets in.
What has been deleted is gone, what was created is there: that follows the links between operations.
`schemathesis.toml` says what is taken back for which operation, and why.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
from pathlib import Path

import pytest

from safelight.settings import child_environment
from tests.fuzz.conftest import Service

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


async def asked(service: Service, *arguments: str) -> int:
    """How many requests Schemathesis has made. Fails with its findings, each of which ends with the request as a `curl`
    command; what it said ends with its seed."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", str(HERE / "schemathesis.toml"), "run", f"{service.url}/openapi.json", "--no-color"),
        *arguments,
        cwd=ROOT,
        env=child_environment({"api_key": service.key}) | {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    said = "\n".join(line[:2000] for line in output.decode("utf-8", "replace").splitlines())
    print(said)
    assert process.returncode == 0, said
    made = re.search(r"(\d+) generated", said)
    assert made is not None, said
    return int(made[1])


@pytest.mark.timeout(400)
async def test_requests_drawn_from_the_document_are_answered_as_it_says(service: Service):
    made = await asked(service, "--phases", "fuzzing,stateful", "--max-examples", "2", "--generation-deterministic")

    assert made > 150


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_the_edges_of_what_the_document_allows_are_answered_as_it_says(service: Service):
    made = await asked(service, "--phases", "coverage", "--workers", "2", "--generation-deterministic")

    assert made > 3000


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_any_number_of_requests_drawn_from_the_document_are_answered_as_it_says(service: Service):
    seed = str(secrets.randbelow(2**32))

    made = await asked(
        service, "--phases", "fuzzing,stateful", "--max-examples", "40", "--workers", "2", "--seed", seed
    )

    assert made > 2500
