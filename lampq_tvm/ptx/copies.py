"""Asynchronous copies from global to shared memory, in groups. Source: PTX ISA, Data Movement and Conversion
Instructions: Asynchronous copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lampq_tvm.ptx.shared import Shared
from lampq_tvm.ptx.types import Array


@dataclass
class _Batch:
    """Copies that one instruction issued: whose, to where, what, and each one's group."""

    lanes: Array
    addresses: Array
    values: Array
    groups: Array


class Copies:
    """Copies under way.

    Args:
        shared: where they go.
        count: lanes.
    """

    def __init__(self, shared: Shared, count: int) -> None:
        self._shared = shared
        self._batches: list[_Batch] = []
        self._committed = np.zeros(count, np.int64)

    def issue(self, lanes: Array, addresses: Array, values: Array) -> None:
        """Begin copies of items `values` [A] to shared `addresses` [A]."""
        self._shared.announce(addresses, values.dtype.itemsize, lanes)
        self._batches.append(_Batch(lanes, addresses, values, self._committed[lanes]))

    def commit(self, lanes: Array) -> None:
        """Close the lanes' open group."""
        self._committed[lanes] += 1

    def wait(self, mask: Array, pending: int) -> None:
        """Let the bytes arrive of all but the lanes' `pending` newest groups."""
        left = []
        for batch in self._batches:
            ready = mask[batch.lanes] & (batch.groups < self._committed[batch.lanes] - pending)
            if ready.all():
                self._shared.arrive(batch.addresses, batch.values, batch.lanes)
            elif ready.any():
                self._shared.arrive(batch.addresses[ready], batch.values[ready], batch.lanes[ready])
                keep = ~ready
                left.append(_Batch(batch.lanes[keep], batch.addresses[keep], batch.values[keep], batch.groups[keep]))
            else:
                left.append(batch)
        self._batches = left
