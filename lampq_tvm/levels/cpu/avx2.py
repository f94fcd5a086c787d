"""AVX2 with FMA (x86-64-v3): what every x86 machine needs."""

from lampq_tvm.levels.arch import X86
from lampq_tvm.levels.level import CpuLevel, add_level

AVX2 = add_level(
    CpuLevel(
        name="avx2",
        arch=X86,
        rank=0,
        features=("abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"),
        mcpu="x86-64-v3",
        mattr=(),
        lanes=8,
        byte_lanes=32,
        look_lanes=32,
        registers=16,
        accumulators=10,
        operand="uint8",
        group=4,
        attention_rows=5,
        attention_vectors=2,
    )
)
