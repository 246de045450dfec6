"""`python -m safelight.cli.child api` and `… worker`: the commands of that name, as `serve` starts them.

Without the libraries of the command line, which would stay in each process's memory for nothing.
"""

from __future__ import annotations

import sys

from safelight.cli.complaint import complain, exit_code
from safelight.cli.processes import run_api, run_worker
from safelight.domain.errors import SafelightError

_PROCESSES = {"api": run_api, "worker": run_worker}


def main() -> None:
    """Runs the process that the first argument names, and ends with its exit code."""
    try:
        sys.exit(exit_code(_PROCESSES[sys.argv[1]]))
    except SafelightError as error:
        sys.exit(complain(error))


if __name__ == "__main__":
    main()
