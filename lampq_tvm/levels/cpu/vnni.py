"""AVX-512 with VNNI. x86-64-v4 is AVX-512 F, BW, CD, DQ, VL."""

from dataclasses import replace

from lampq_tvm.levels.cpu.avx2 import AVX2
from lampq_tvm.levels.level import add_level

VNNI = add_level(
    replace(
        AVX2,
        name="vnni",
        rank=1,
        features=(*AVX2.features, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl", "avx512_vnni"),
        mcpu="x86-64-v4",
        mattr=("+avx512vnni",),
        lanes=16,
        byte_lanes=64,
        look_lanes=64,
        registers=32,
        accumulators=24,
        attention_rows=8,
        attention_vectors=3,
    )
)
