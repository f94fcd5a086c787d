"""Rewrites put operators in, take them out and exchange them; whatever is computed from the operators follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.network.edit import exchange, insert, remove
from lampq_tvm.network.execute import normalize, run_float
from lampq_tvm.network.model import ImportedModel, Linear
from tests.quantize.tiny import tiny_images, tiny_model


def output(model: ImportedModel) -> torch.Tensor:
    with torch.no_grad():
        return run_float(model, normalize(tiny_images(3), model.input))


def turn(model: ImportedModel, after: str, name: str = "turn", seed: int = 0) -> ImportedModel:
    """The model with a layer that turns the channels of a value."""
    channels = model.shapes[after][-1]
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(channels, channels)))
    tensors = {f"{name}.weight": q.astype(np.float32), f"{name}.bias": np.zeros(channels, np.float32)}
    return insert(model, Linear(name, (after,), "proj"), after, tensors)


def test_a_layer_more_is_a_row_more():
    model = tiny_model()
    found = turn(model, "blocks.0.add2")
    assert [row.name for row in found.layers if row not in model.layers] == ["turn"]
    assert len(found.layers) == len(model.layers) + 1 and found.shapes["turn"] == model.shapes["blocks.0.add2"]
    assert [op.name for op in found.consumers("blocks.0.add2")] == ["turn"]
    assert {op.name for op in found.consumers("turn")} == {op.name for op in model.consumers("blocks.0.add2")}
    assert "turn.weight" not in model.tensors and not torch.allclose(output(found), output(model), atol=1e-3)


def test_a_rotation_and_its_inverse_change_nothing():
    """Two layers put in behind each other; the second's weights are the first one's, transposed."""
    model = tiny_model()
    there = turn(model, "blocks.0.norm1")
    tensors = {"back.weight": there.tensors["turn.weight"].T.copy(), "back.bias": there.tensors["turn.bias"]}
    back = insert(there, Linear("back", ("turn",), "proj"), "turn", tensors)
    torch.testing.assert_close(output(back), output(model), rtol=1e-4, atol=1e-4)
    for found in (remove(remove(back, "back"), "turn"), remove(remove(back, "turn"), "back")):
        assert found.ops == model.ops and found.outputs == model.outputs and set(found.tensors) == set(model.tensors)
        assert torch.equal(output(found), output(model))


def test_the_output_may_be_what_is_put_in_or_taken_out():
    model = tiny_model()
    found = turn(model, model.output, "after")
    assert found.outputs == ("after",)
    weight = torch.from_numpy(found.tensors["after.weight"])
    torch.testing.assert_close(output(found), output(model) @ weight.T)
    assert remove(found, "after").outputs == model.outputs


def test_a_layer_is_exchanged_for_another():
    model = tiny_model()
    op = model.op("blocks.0.fc2")
    tensors = {f"{op.name}.{k}": 2 * model.tensors[f"{op.name}.{k}"] for k in ("weight", "bias")}
    doubled = exchange(model, Linear(op.name, op.inputs, "fc2"), tensors)
    scale = {"blocks.0.add2.scale": model.tensors["blocks.0.add2.scale"] / 2}
    same = exchange(doubled, doubled.op("blocks.0.add2"), scale)
    torch.testing.assert_close(output(same), output(model))
    assert not torch.allclose(output(doubled), output(model), atol=1e-3)


def test_what_cannot_be_is_refused():
    model = tiny_model()
    with pytest.raises(UnsupportedError, match="patch: there are two operators of this name"):
        insert(model, Linear("patch", ("patch",), "proj"), "patch")
    with pytest.raises(UnsupportedError, match=r"early: it reads 'blocks.1.add2', which is not there yet"):
        insert(model, Linear("early", ("blocks.1.add2",), "proj"), "patch")
    with pytest.raises(UnsupportedError, match="is not there yet"):
        exchange(model, Linear("blocks.0.qkv", ("blocks.1.norm1",), "qkv"))
