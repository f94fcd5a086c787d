"""Layer tables, sensitivities and latency tables by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lampq_tvm.latency.table import LatencyTable, LayerLatency, Timing
from lampq_tvm.network.model import ImportedModel, InputSpec, Linear, PatchEmbed
from lampq_tvm.sensitivity.table import Sensitivity
from tests.sensitivity import conftest as vit

batches, calibrated, model, units = vit.batches, vit.calibrated, vit.model, vit.units  # fixtures: a small ViT
WIDTHS = (2, 3, 4, 5, 6, 7, 8)
SIZES = {"qkv": (96, 32), "proj": (32, 32), "fc1": (128, 32), "fc2": (32, 128)}


@pytest.fixture
def make_model():
    """Model with a patch embedding, `blocks` blocks and a head; only its layer table matters here."""

    def make(blocks=2):
        rows = [("patch_embed", "patch_embed", 32, 48)]
        rows += [(f"blocks.{b}.{t}", t, *size) for b in range(blocks) for t, size in SIZES.items()]
        rows += [("head", "head", 10, 32)]
        spec = InputSpec(3, 4, 4, (0.5,) * 3, (0.5,) * 3)
        names = ["image", *(name for name, *_ in rows)]
        ops = [PatchEmbed("patch_embed", ("image",), 4, 0)]
        ops += [Linear(name, (source,), kind) for source, (name, kind, *_) in zip(names[1:], rows[1:], strict=False)]
        tensors = {f"{name}.weight": np.zeros((n, k), np.float32) for name, _, n, k in rows}
        tensors |= {"patch_embed.pos": np.zeros((0, 32), np.float32), "patch_embed.prefix": np.zeros((0, 32), np.float32)}
        return ImportedModel("hand", tuple(ops), ("head",), spec, "random", True, tensors)

    return make


@pytest.fixture
def make_sensitivity():
    """LampQ's form: loss(i, b) = 4^-b omega_i, the same for every a."""

    def make(model, omega=None, *, sees=False, a_term=0.0, widths=WIDTHS):
        rng = np.random.default_rng(3)
        omega = 10 ** rng.uniform(-3, 1, len(model.layers)) if omega is None else np.asarray(omega, float)
        fall = 4.0 ** -np.array(widths, float)
        loss = omega[:, None, None] * (fall[None, :, None] + a_term * fall[None, None, :])
        return Sensitivity("lampq", sees, tuple(x.name for x in model.layers), widths, loss)

    return make


@pytest.fixture
def make_table():
    """A latency table: `cost(layer, w, a)` ms each, 1 ms fixed, a float baseline of 20 ms."""

    def make(model, cost, kind="measured"):
        def timing(ms):
            return Timing(median_ms=ms, p95_ms=ms, n=5, kind=kind)

        rows = []
        for layer in model.layers:
            widths = [8] if layer.type == "patch_embed" else WIDTHS
            pairs = {f"{w}/{a}": timing(cost(layer, w, a)) for w in WIDTHS for a in widths}
            rows.append(LayerLatency(name=layer.name, pairs=pairs))
        return LatencyTable(
            target="host", device="test", threads=1, layers=tuple(rows), fixed={"rest": timing(1.0)}, float_ms=timing(20.0)
        )

    return make
