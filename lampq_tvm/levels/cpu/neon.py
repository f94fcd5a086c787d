"""Plain NEON (Armv8.0), without a dot product: Cortex-A53, A57, A72."""

from lampq_tvm.levels.arch import AARCH64
from lampq_tvm.levels.level import CpuLevel, add_level

NEON = add_level(
    CpuLevel(
        name="neon",
        arch=AARCH64,
        rank=0,
        features=("asimd",),
        mcpu="generic",
        mattr=("+neon",),
        lanes=4,
        byte_lanes=16,
        look_lanes=16,
        registers=32,
        accumulators=24,
        operand="int8",
        group=4,
        attention_rows=6,
        attention_vectors=4,
    )
)
