"""Which pairs of method and library are left out, and why."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run variants of a method on every library but JAX.

    Eager JAX compiles each operation for each shape, about 700 times a method, and a variant
    (centred, the paper's constants, forgetting) shares its operations with the method itself.
    """
    kept, left_out = [], []
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        case, backend = params.get("case"), params.get("xp")
        is_variant = getattr(case, "is_variant", False) and str(backend) == "jax"
        (left_out if is_variant else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
