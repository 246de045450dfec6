"""What the profile reads out of PostgreSQL's log."""

from __future__ import annotations

from benchmarks.statements import entries

LOG = """\
safelight worker|LOG:  duration: 0.013 ms  bind __asyncpg_stmt_3__: -- name: claim
\t-- One image to one worker.
\tUPDATE images SET worker_id = $1
safelight worker|LOG:  duration: 1.250 ms  execute __asyncpg_stmt_3__: -- name: claim
\t-- One image to one worker.
\tUPDATE images SET worker_id = $1
safelight worker|LOG:  duration: 0.900 ms  statement: COMMIT;
safelight worker|LOG:  parameter "work_mem" changed to "4MB"
|LOG:  checkpoint starting: time
psql|LOG:  duration: 9.000 ms  statement: SELECT 1
safelight images|LOG:  duration: 0.400 ms  execute <unnamed>:\x20
\tWITH next AS (SELECT id FROM safelight.pgqueuer)
\tSELECT * FROM next
safelight worker queue|LOG:  duration: 0.500 ms  execute <unnamed>: INSERT INTO safelight.pgqueuer (id)
"""


def test_statements_are_found_by_name_with_the_time_of_each_of_their_steps():
    assert list(entries(LOG)) == [
        ("`claim`", 0.013, False),
        ("`claim`", 1.25, True),
        ("COMMIT", 0.9, True),
        ("PgQueuer's, to take and to end", 0.4, True),
        ("PgQueuer's, to hand over", 0.5, True),
    ]
