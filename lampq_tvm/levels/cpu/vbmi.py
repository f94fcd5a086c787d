"""AVX-512 with VNNI and VBMI, whose permutations look 64 bytes up at once."""

from dataclasses import replace

from lampq_tvm.levels.cpu.vnni import VNNI
from lampq_tvm.levels.level import add_level

VBMI = add_level(
    replace(
        VNNI,
        name="vbmi",
        rank=2,
        features=(*VNNI.features, "avx512vbmi"),
        mattr=(*VNNI.mattr, "+avx512vbmi"),
    )
)
