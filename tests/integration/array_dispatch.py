"""Run scikit-learn's checks with arrays of other libraries; prints what fails, as JSON.

SciPy reads SCIPY_ARRAY_API when it is imported, so that this is a program of its own.
"""

from __future__ import annotations

import json
import warnings
from unittest import SkipTest

from tests.integration.estimators import TABLES, checks, seen_by_checks


def failures(name: str) -> dict[str, list[str]]:
    """Return the errors of the checks that fail, and None for each that passes, by name."""
    found: dict[str, list[str]] = {}
    for check, runs in checks(seen_by_checks(name)).items():
        if not check.startswith("check_array_api"):
            continue
        for run in runs:
            try:
                run()
            except SkipTest:
                continue
            except Exception as error:
                found.setdefault(check, []).append(f"{type(error).__name__}: {error}")
            else:
                found.setdefault(check, []).append("passed")
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps({name: failures(name) for name in TABLES}))
