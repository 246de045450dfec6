"""Requests that are right by themselves and refused for how things stand: what each is, and the test that sends it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BadState:
    """`test`: the file under tests/ and the function in it, which names the problem's type."""

    name: str
    status: int
    slug: str
    test: str


BAD_STATES: dict[str, tuple[BadState, ...]] = {
    heading: tuple(
        BadState(name=name, status=status, slug=slug, test=f"{file}::test_{test}")
        for name, status, slug, file, test in rows
    )
    for heading, rows in {
        "Who asks": (
            ("no key", 401, "unauthenticated", "api/test_keys.py", "every_refusal_of_a_key_has_the_same_words"),
            (
                "a key that is malformed, unknown, revoked, expired, mistyped, sent twice, or part of the address",
                401,
                "unauthenticated",
                "api/test_keys.py",
                "every_refusal_of_a_key_has_the_same_words",
            ),
            (
                "a submit with a key that may only read; a list of keys without an admin's",
                403,
                "insufficient-scope",
                "api/test_keys.py",
                "each_scope_opens_its_own_routes",
            ),
            (
                "another account's job, image, event, key, webhook, style, schedule or upload",
                404,
                "not-found",
                "api/test_tenants.py",
                "whatever_is_named_by_an_id_is_to_another_account_as_if_it_did_not_exist",
            ),
            (
                "a signed link that was changed, added to or moved, or is past its time",
                403,
                "invalid-signature",
                "api/test_links.py",
                "every_part_of_a_link_counts_and_every_refusal_reads_the_same",
            ),
            (
                "a change that a page of another site sends to an open service",
                403,
                "foreign-page",
                "api/test_foreign_pages.py",
                "nothing_that_changes_something_is_taken_from_it",
            ),
            (
                "a `Host` that is not ours, is not there, or is there twice",
                400,
                "bad-host",
                "api/test_bad_input.py",
                "a_name_that_is_not_ours_is_refused",
            ),
        ),
        "The same request again": (
            (
                "no Idempotency-Key, where the service requires one",
                400,
                "idempotency-key-required",
                "api/test_keys.py",
                "a_submit_without_a_key_against_doing_it_twice_is_refused_where_one_is_required",
            ),
            (
                "an Idempotency-Key of a different request",
                422,
                "idempotency-key-reused",
                "api/test_bad_input.py",
                "a_key_of_another_request_is_refused_and_makes_nothing",
            ),
            (
                "an Idempotency-Key whose first request is still being accepted",
                409,
                "idempotency-in-progress",
                "api/test_bad_input.py",
                "a_key_whose_first_request_is_still_being_accepted_is_in_use",
            ),
            (
                "a cursor of another account, or of another list",
                400,
                "invalid-cursor",
                "api/test_tenants.py",
                "a_cursor_of_one_account_is_none_of_another",
            ),
        ),
        "How a job stands": (
            (
                "a cancel of a job that has ended otherwise",
                409,
                "job-already-terminal",
                "api/test_bad_input.py",
                "a_job_that_has_ended_cannot_be_canceled_except_again",
            ),
            (
                "a removal of a job that has not ended",
                409,
                "job-not-ended",
                "api/test_archive.py",
                "a_job_that_lives_is_not_removed_and_one_that_is_not_there_neither",
            ),
            (
                "an image that has no picture, or none yet",
                409,
                "image-not-ready",
                "api/test_bad_input.py",
                "an_image_without_a_picture_cannot_be_fetched",
            ),
            (
                "a picture that was removed at its owner's request",
                410,
                "gone",
                "api/test_archive.py",
                "a_removed_job_says_so_and_serves_nothing",
            ),
            (
                "a picture that was kept for as long as was agreed",
                410,
                "gone",
                "api/test_archive.py",
                "a_picture_that_was_kept_for_its_time_is_gone",
            ),
            (
                "a part of a picture that begins after its end",
                416,
                "range-not-satisfiable",
                "api/test_serving.py",
                "a_part_that_begins_after_the_end_is_refused_and_the_length_told",
            ),
            (
                "a message to a webhook that is disabled or deleted",
                409,
                "endpoint-disabled",
                "api/test_webhooks.py",
                "a_message_is_sent_again_under_its_own_id_unless_its_webhook_is_closed",
            ),
            (
                "a deletion of an upload that a job is to be made from",
                409,
                "upload-in-use",
                "api/test_uploads.py",
                "an_upload_can_be_deleted_unless_a_job_is_to_be_made_from_it",
            ),
        ),
        "Money": (
            (
                "a job that costs more than its `max_cost_usd`, the day's budget or the balance leaves",
                402,
                "budget-exceeded",
                "api/test_accounts.py",
                "a_job_is_refused_beyond_what_it_may_cost",
            ),
            (
                "a bounded job for a model that has no price",
                422,
                "price-unknown",
                "api/test_accounts.py",
                "a_model_without_a_price_is_refused_where_its_price_matters",
            ),
        ),
        "How busy the service is": (
            (
                "a stream beyond those that the process may hold",
                429,
                "too-many-streams",
                "api/test_streams.py",
                "streams_beyond_the_limit_are_refused_until_one_ends",
            ),
            (
                "a request beyond what a key, or an address where no key is needed, may make in a minute",
                429,
                "rate-limited",
                "api/test_request_rate.py",
                "requests_beyond_the_rate_of_their_key_are_refused_before_their_body_is_read",
            ),
            (
                "a job beyond what may wait",
                503,
                "queue-full",
                "api/test_queue_depth.py",
                "a_submit_beyond_what_may_wait_is_refused_and_may_come_again",
            ),
            (
                "an upload beyond those that are taken at a time",
                503,
                "too-many-uploads",
                "api/test_uploads.py",
                "an_upload_beyond_what_is_taken_at_a_time_is_turned_away",
            ),
            (
                "a body that does not arrive in time",
                408,
                "request-timeout",
                "api/test_bad_input.py",
                "a_body_that_does_not_arrive_in_time_is_given_up",
            ),
            (
                "anything, without the database",
                503,
                "unavailable",
                "api/test_bad_input.py",
                "without_a_database_everything_is_unavailable",
            ),
            (
                "a submit to a database whose disk is full",
                503,
                "storage-full",
                "api/test_bad_input.py",
                "a_database_that_cannot_is_no_fault_of_the_request",
            ),
        ),
    }.items()
}
