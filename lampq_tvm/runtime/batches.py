"""Any number of images by the batch sizes that an artifact was compiled for."""

from __future__ import annotations

from collections.abc import Sequence


def split(count: int, batches: Sequence[int]) -> list[int]:
    """Batch sizes, one per call, that hold `count` images together; only the last call may be larger than what is left.

    A call is padded when at most half of it would be padding, or when there is no smaller size.

    Args:
        batches: the sizes to choose from.

    >>> split(41, [1, 8, 32]), split(20, [1, 8, 32]), split(3, [8])
    ([32, 8, 1], [32], [8])
    """
    sizes, parts = sorted(batches), []
    while count > 0:
        holding = next((size for size in sizes if size >= count), None)
        fitting = max((size for size in sizes if size <= count), default=sizes[0])
        parts.append(holding if holding is not None and holding <= 2 * count else fitting)
        count -= parts[-1]
    return parts
