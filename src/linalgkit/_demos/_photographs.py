"""scikit-learn's two sample photographs, or the middle of each for a quick run."""

from __future__ import annotations

from typing import Any

from linalgkit._demos._context import Context

_QUICK_SHARE = 3  # of the height and of the width


def photographs(context: Context, least: int) -> list[Any]:
    """Return the photographs; for a quick run their middle, at least `least` pixels wide."""
    images = list(context.scikit("datasets.load_sample_images")().images)
    return [_middle(image, least) for image in images] if context.quick else images


def _middle(image: Any, least: int) -> Any:
    height, width = (max(least, length // _QUICK_SHARE) for length in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width, :]
