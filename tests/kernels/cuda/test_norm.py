"""LayerNorm by a warp against the oracle: its float sums in their order, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.kernels.cuda.norm import build_norm
from lampq_tvm.kinds import Kind, of_width
from lampq_tvm.oracle import ops
from tests.kernels import data
from tests.kernels.cuda.gpu import pack_rows, run, unpack_rows

EPS = 1e-6


@pytest.mark.parametrize("arch", ["sm_72", "sm_75", "sm_87", "sm_90", "sm_110"])
@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (5, 31), (4, 32), (7, 33), (3, 100), (9, 192), (2, 768)])
def test_norm(arch, rows, channels):
    centred = channels != 33 and rows != 4  # two of them without a mean: RMSNorm
    rng = np.random.default_rng(rows * channels)
    stream = (rng.normal(0, 1, (rows, channels)) * 10.0 ** rng.integers(-3, 4, (rows, 1))).astype(np.float32)
    stream[0] += 1000
    G, B = rng.normal(0, 40, channels).astype(np.float32), rng.normal(0, 5, channels).astype(np.float32)
    buffers = {"stream": stream, "G": G, "B": B}
    found = run(build_norm(rows, channels, EPS, out=Kind.FLOAT32, centred=centred), arch, buffers, np.zeros_like(stream))
    assert found.tobytes() == ops.layer_norm_float(stream, G, B, EPS, centred).tobytes()
    for bits, width in ((8, 8), (6, 8), (4, 4), (3, 4)):
        wanted = ops.layer_norm_codes(stream, G, B, EPS, bits, centred)
        kernel = build_norm(rows, channels, EPS, out=of_width(width), centred=centred)
        memory = run(kernel, arch, buffers | {"range": data.code_range(bits)}, np.zeros_like(pack_rows(wanted, width)))
        assert unpack_rows(memory, channels, width).tobytes() == wanted.tobytes()
