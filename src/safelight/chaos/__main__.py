"""`python -m safelight.chaos FOLDER`: reads the evidence in the folder and prints the verdict.

Exit code: 0 when the promise was kept, 1 when it was not, 2 when there is no evidence to judge, and 3 when nothing was
found in evidence that lacks files, so that some counts were not judged in full. Which, and for want of what, is said.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from safelight.chaos.checker import judge
from safelight.chaos.evidence import NoEvidence, read
from safelight.chaos.report import as_json, text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m safelight.chaos", description="Judge a run by its evidence.")
    parser.add_argument("folder", type=Path, help="where the files of evidence lie")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    asked = parser.parse_args(arguments)
    try:
        verdict = judge(read(asked.folder))
    except NoEvidence as error:
        sys.stderr.write(f"safelight.chaos: {error}\n")
        return 2
    sys.stdout.write((as_json(verdict) if asked.json else text(verdict)) + "\n")
    if not verdict.is_kept:
        return 1
    return 0 if verdict.is_judged else 3


if __name__ == "__main__":
    sys.exit(main())
