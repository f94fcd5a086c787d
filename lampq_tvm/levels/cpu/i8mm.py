"""Armv8.6 with int8 matrix multiply: Neoverse V1, V2, V3AE."""

from dataclasses import replace

from lampq_tvm.levels.cpu.dotprod import DOTPROD
from lampq_tvm.levels.level import add_level

I8MM = add_level(
    replace(
        DOTPROD,
        name="i8mm",
        rank=2,
        features=(*DOTPROD.features, "i8mm"),
        mattr=(*DOTPROD.mattr, "+i8mm"),
        group=8,
    )
)
