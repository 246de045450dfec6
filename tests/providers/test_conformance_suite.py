"""The shipped suite catches what it is for: each misbehaving provider fails the very test that names its fault."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytestmark = pytest.mark.slow  # a pytest of its own for every bad provider

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent

CAUGHT = {
    ("TestSendsTwice", "test_a_call_is_one_request"): "assert 2 ==",
    ("TestOwnClient", "test_the_request_leaves_through_the_billable_client"): "billable_client",
    ("TestOwnClient", "test_not_a_byte_leaves_after_the_deadline"): "DID NOT RAISE",
    ("TestOwnClient", "test_no_answer_raises_anything_but_a_provider_error[redirects]"): "HTTP 302",
    ("TestRetries", "test_a_failure_is_not_repeated[rate limit]"): "assert 2 == 1",
    ("TestRetries", "test_a_failure_is_not_repeated[server error]"): "assert 2 == 1",
    ("TestRetries", "test_an_answer_that_breaks_off_may_have_cost[cut]"): "sent again",
    ("TestDropsTheSeed", "test_every_option_reaches_the_vendor"): "['seed']",
    (
        "TestDropsWhatItLacks",
        "test_what_the_model_cannot_do_is_refused_unsent[negative_prompt]",
    ): "returned ImageResult",
    ("TestDropsWhatItLacks", "test_what_the_model_cannot_do_is_refused_unsent[references]"): "returned ImageResult",
    ("TestDropsWhatItLacks", "test_a_model_that_nobody_knows_is_refused_unsent"): "returned ImageResult",
    ("TestDropsWhatItLacks", "test_a_retired_model_is_refused_unsent"): "returned ImageResult",
    ("TestTellsTheKey", "test_an_error_tells_neither_key_nor_prompt[server error]"): "the key was told",
    ("TestTellsThePromptInItsCause", "test_an_error_tells_neither_key_nor_prompt[bad key]"): "the prompt was told",
    ("TestTellsThePromptInItsCause", "test_a_connection_error_tells_neither_key_nor_prompt"): "the prompt was told",
    ("TestShowsItsKey", "test_what_comes_back_tells_neither_key_nor_prompt"): "the key was told",
    ("TestSwallowsCancellation", "test_cancelling_the_task_closes_the_connection"): "was swallowed",
    ("TestOutlivesItsTask", "test_cancelling_the_task_closes_the_connection"): "TimeoutError",
    ("TestCallsEverythingFree", "test_the_cost_is_an_amount_within_the_estimate_or_unknown"): "costs nothing",
    ("TestCallsEverythingFree", "test_a_server_error_may_have_cost"): "policy",
    ("TestCallsEverythingFree", "test_an_answer_that_breaks_off_may_have_cost[half]"): "Billed.UNKNOWN",
    ("TestCallsEverythingFree", "test_an_answer_that_cannot_be_read_may_have_cost"): "Billed.NO",
    ("TestLetsErrorsThrough", "test_a_refused_connection_cost_nothing"): "it raised httpx2.ReadError",
    ("TestLetsErrorsThrough", "test_no_answer_raises_anything_but_a_provider_error[successes]"): "ReadError",
    ("TestRaisesItsRefusals", "test_a_refusal_is_a_result"): "SAFETY",
    ("TestTakesOneAtATime", "test_two_calls_at_once_do_not_wait_for_each_other"): "TimeoutError",
    ("TestClosesOnce", "test_it_can_be_closed_twice"): "closed already",
    ("TestEstimatesTooLow", "test_the_cost_is_an_amount_within_the_estimate_or_unknown"): "upper bound",
    ("TestEstimatesInDollars", "test_the_estimate_is_an_amount_or_unknown"): "whole number",
    ("TestPromisesAMask", "test_capabilities_agree_with_themselves"): "a mask belongs to",
    ("TestKnowsEveryModel", "test_a_model_that_nobody_knows_is_unknown"): "DID NOT RAISE",
    ("TestListsNothing", "test_the_models_are_listed"): "draw-2",
    ("TestIgnoresTheDeadline", "test_not_a_byte_leaves_after_the_deadline"): "ProviderError",
    ("TestRemembersItsJobs", "test_another_process_gets_the_picture"): "still running",
    ("TestEndsWhatItCannotAsk", "test_an_answer_that_does_not_tell_is_asked_for_again[503]"): "ended the job",
    (
        "TestForgetsWhatItSold",
        "test_a_job_of_a_model_that_is_listed_no_more_still_brings_its_picture",
    ): "UnknownModel",
    ("TestBuysAgain", "test_asking_after_a_job_buys_nothing"): "was bought again",
    ("TestGoesWhereItIsSent", "test_a_handle_that_leads_elsewhere_does_not_take_the_key_there"): "another host",
    ("TestFetchesWithItsKey", "test_the_key_stays_with_the_vendor"): "another host",
    ("TestWritesItsKeyDown", "test_a_handle_survives_being_written_down"): "the key is in the handle",
}
"""The test of the suite that has to fail, and what it has to say."""


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """What each of those tests said when it failed, from one run of pytest without our own configuration."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copy(HERE / "misbehaving.py", folder / "test_misbehaving.py")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    report = folder / "report.xml"
    paths = (ROOT / "src", ROOT / "examples" / "acme_provider", HERE)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        + [f"test_misbehaving.py::{suite}::{test}" for suite, test in CAUGHT],
        cwd=folder,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return {
        (str(case.get("classname")).rpartition(".")[2], str(case.get("name"))): "".join(failure.itertext())
        for case in ET.parse(report).iter("testcase")
        for failure in case.iter("failure")
    }


@pytest.mark.parametrize(("suite", "test"), CAUGHT)
def test_a_fault_is_caught_by_name(suite: str, test: str, failures: dict[tuple[str, str], str]) -> None:
    assert (suite, test) in failures, f"{suite} passed {test}"
    assert CAUGHT[suite, test] in failures[suite, test]


def test_every_misbehaving_provider_is_caught() -> None:
    written = {
        line.removeprefix("class ").partition("(")[0]
        for line in (HERE / "misbehaving.py").read_text(encoding="utf-8").splitlines()
        if line.startswith("class Test")
    }
    assert {suite for suite, _ in CAUGHT} == written


def test_without_pytest_the_import_says_what_to_install() -> None:
    program = "import sys; sys.modules['pytest'] = None; import safelight.testing"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT / "src", capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].endswith("pip install pytest pytest-asyncio")
