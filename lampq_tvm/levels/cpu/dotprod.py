"""Armv8.2 with dot product: Cortex-A55, A76, A78AE, Neoverse N1."""

from dataclasses import replace

from lampq_tvm.levels.cpu.neon import NEON
from lampq_tvm.levels.level import add_level

DOTPROD = add_level(
    replace(
        NEON,
        name="dotprod",
        rank=1,
        features=("asimd", "asimddp", "asimdhp", "asimdrdm", "atomics"),
        mattr=("+v8.1a", "+neon", "+dotprod", "+fullfp16"),
        accumulators=24,
        side=4,
        head_side=4,
        attention_rows=6,
        attention_vectors=1,
    )
)
