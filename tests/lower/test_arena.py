"""Working memory of whole models: how much, and that compiled code takes that and no more."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import tvm

from lampq_tvm.compiler.build import pipeline
from lampq_tvm.lower.memory import plan_memory
from lampq_tvm.lower.module import default_schedules, lower, lower_calls
from tests.boards import target_of
from tests.lower.networks import swin, vit

MODELS = {
    "deit tiny": lambda: vit(192, 12),
    "deit small": lambda: vit(384, 12),
    "swin tiny": swin,
    "demo": lambda: vit(96, 6, 28, 1, 4, 10),
}
MOST = 2.5  # of the largest activation


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", MODELS)
def test_working_memory_is_a_small_multiple_of_the_largest_value(name, batch):
    """Arena and output together."""
    qm = MODELS[name]()
    calls, _ = lower_calls(qm, "dotprod", batch, default_schedules)
    sizes = {call.value: math.prod(call.shape) * np.dtype(call.dtype).itemsize for call in calls}
    arena = plan_memory([call.step for call in calls], {qm.output})
    assert max(sizes.values()) <= arena.size
    assert arena.size + sizes[qm.output] <= MOST * max(sizes.values())


def test_the_stream_stays_in_one_place():
    qm = MODELS["deit tiny"]()
    calls, _ = lower_calls(qm, "dotprod", 1, default_schedules)
    arena = plan_memory([call.step for call in calls], {qm.output})
    assert len({arena.offsets[call.value] for call in calls if call.over is not None}) == 1


@pytest.mark.parametrize("batch", [1, 2])
def test_compiled_code_allocates_the_arena_once_and_the_output(batch):
    """In the module as lowered, and in the virtual machine's instructions."""
    lowered = lower(vit(36, 2, 20, 3, 4, 5), "dotprod", batch)
    planned = re.findall(r"alloc_storage\(R\.shape\(\[(\d+)\]\)", lowered.module["main"].script())
    assert planned == [str(lowered.arena_bytes)]
    built = tvm.compile(lowered.module, target=tvm.target.Target(target_of("dotprod").tvm), relax_pipeline=pipeline())
    text = re.split(r"^@(\w+):\n", built.as_text(), flags=re.M)
    instructions = dict(zip(text[1::2], text[2::2], strict=True))["main"]
    assert len(re.findall(r"call +vm\.builtin\.alloc_storage", instructions)) == 2
    assert lowered.largest_activation_bytes == batch * 26 * 36 * 4
