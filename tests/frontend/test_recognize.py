"""Recognition by structure: spellings of the same network that timm does not use, and networks that only look alike."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend import prove
from lampq_tvm.frontend.export import export_module
from lampq_tvm.frontend.finish import Recognized
from lampq_tvm.frontend.graph import Graph
from lampq_tvm.frontend.prove import recognize_and_prove
from lampq_tvm.network.model import Activation, Attention, LayerNorm, Linear, MeanTokens, Regroup, Residual
from lampq_tvm.network.operators.float_part import FloatPart

SHAPE = (2, 3, 8, 8)


class Tiny(nn.Module):
    """A one-block ViT of which subclasses spell one part differently."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.norm1, self.norm2, self.norm = nn.LayerNorm(8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.fc1, self.fc2, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos

    def mix(self, x: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, 8)

    def act(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(x)

    def first(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm1(x)

    def join(self, x: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        return x + branch

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)[:, 0]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.embed(image)
        x = self.join(x, self.proj(self.mix(self.first(x))))
        x = self.join(x, self.fc2(self.act(self.fc1(self.norm2(x)))))
        return self.head(self.pool(x))


def recognized(module: nn.Module) -> Recognized:
    return recognize_and_prove(Graph(export_module(module, SHAPE, "tiny"), "tiny"), SHAPE)


class Interleaved(Tiny):
    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 2, 3, 4).permute(3, 0, 2, 1, 4)
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, 8)


class Separate(Tiny):
    def mix(self, x):
        q, k, v = (f(x).unflatten(-1, (2, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return nn.functional.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2).flatten(2)


class WrittenOut(Tiny):
    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k, v = (y.reshape(b, t, 2, 4).permute(0, 2, 1, 3).reshape(b * 2, t, 4) for y in (q, k, v))
        scores = torch.bmm(q * 0.25, k.transpose(1, 2)).view(b, 2, t, t) / 0.5
        return (scores.softmax(-1).view(b * 2, t, t) @ v).view(b, 2, t, 4).transpose(1, 2).reshape(b, t, 8)


class OwnNorm(Tiny):
    def first(self, x):
        mean = x.mean(-1, keepdim=True)
        centred = x - mean
        variance = centred.pow(2).mean(-1, keepdim=True)
        return centred / torch.sqrt(variance + 1e-5) * self.norm1.weight + self.norm1.bias


class OwnNormInverse(OwnNorm):
    def first(self, x):
        centred = x - x.mean(-1, keepdim=True)
        inverse = torch.rsqrt((centred * centred).mean(-1, keepdim=True) + 1e-5)
        return self.norm1.weight * (centred * inverse) + self.norm1.bias


class ErfGelu(Tiny):
    def act(self, x):
        return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


class TanhGelu(Tiny):
    def act(self, x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))


class SigmoidSilu(Tiny):
    def act(self, x):
        return x * torch.sigmoid(x)


class SplitBias(Tiny):
    def act(self, x):
        return nn.functional.relu(x + self.norm2.bias.repeat(2))


class ScaledBranch(Tiny):
    def join(self, x, branch):
        return self.norm1.weight * branch + x


class OtherReshape(Tiny):
    def embed(self, x):
        grid = self.patch(x)
        tokens = grid.permute(0, 2, 3, 1).reshape(len(x), -1, 8) + self.pos[:, 1:]
        return torch.cat([(self.cls + self.pos[:, :1]).expand(len(x), 1, 8), tokens], dim=1)


class Narrowed(Tiny):
    def pool(self, x):
        return self.norm(x).narrow(1, 3, 1).squeeze(1)


class Rms(Tiny):
    def first(self, x):
        return nn.functional.rms_norm(x, (8,), self.norm1.weight, 1e-5)


class OwnRms(Tiny):
    def first(self, x):
        return self.norm1.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


class OwnRmsRoot(Tiny):
    def first(self, x):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * self.norm1.weight


class InsideRms(Tiny):
    def first(self, x):
        return self.norm1.weight * (x * torch.rsqrt((x.pow(2) + 9e-6).mean(-1, keepdim=True)))


class ReadTwice(Tiny):
    """A linear layer's tokens in another order, and as they are, behind a view and a dropout."""

    def first(self, x):
        y = nn.functional.dropout(self.proj(x).reshape(len(x), 5, 8), 0.1, False)
        return self.norm2(y.flip(1)) + y


class PooledMap(Tiny):
    def pool(self, x):
        grid = self.norm(x)[:, 1:].transpose(1, 2).reshape(len(x), 8, 2, 2)
        return nn.functional.adaptive_avg_pool2d(grid, 1).flatten(1)


SAME = [
    (Interleaved, "qkv"),
    (Separate, "qkv"),
    (WrittenOut, "qkv"),
    (OwnNorm, "norm"),
    (OwnNormInverse, "norm"),
    (ErfGelu, "gelu"),
    (TanhGelu, "gelu_tanh"),
    (SigmoidSilu, "silu"),
    (SplitBias, "relu"),
    (ScaledBranch, ""),
    (OtherReshape, ""),
    (Narrowed, ""),
]


@pytest.mark.parametrize(("module", "what"), SAME)
def test_other_spellings_are_recognized(module: type[Tiny], what: str) -> None:
    plain, other = recognized(Tiny()), recognized(module())
    assert [type(op) for op in other.ops] == [type(op) for op in plain.ops]
    assert [op.layer_type for op in other.ops] == [op.layer_type for op in plain.ops]
    if "gelu" in what or what in ("silu", "relu"):
        assert [op.kind for op in other.ops if isinstance(op, Activation)] == [what]


@pytest.mark.parametrize("module", [Rms, OwnRms, OwnRmsRoot, InsideRms])
def test_spellings_of_rmsnorm(module: type[Tiny]) -> None:
    norms = [op for op in recognized(module()).ops if isinstance(op, LayerNorm)]
    assert [norm.centred for norm in norms] == [False, True, True]
    assert norms[0].eps == pytest.approx(9e-6 if module is InsideRms else 1e-5)


def test_a_layer_that_is_read_twice_stays_where_it_is() -> None:
    found = recognize_and_prove(Graph(export_module(ReadTwice(), SHAPE, "tiny"), "tiny"), SHAPE, strict=False)
    parts = [node.operator for op in found.ops if isinstance(op, FloatPart) for node in op.nodes]
    assert "linear" not in parts and sum(isinstance(op, Linear) and op.name.startswith("proj") for op in found.ops) == 2


def test_a_map_pooled_to_one_place_is_the_mean_of_its_tokens() -> None:
    (mean,) = (op for op in recognized(PooledMap()).ops if isinstance(op, MeanTokens))
    assert mean.start == 1


def test_interleaved_heads_permute_the_weights() -> None:
    module = Interleaved()
    found = recognized(module)
    order = torch.arange(24).view(2, 3, 4).transpose(0, 1).flatten()
    assert torch.equal(found.tensors["qkv.weight"], module.qkv.weight[order])


def test_separate_projections_become_one_layer() -> None:
    module = Separate()
    found = recognized(module)
    weights = torch.cat([module.q.weight, module.k.weight, module.v.weight])
    layer = next(op for op in found.ops if isinstance(op, Linear) and op.type == "qkv")
    assert torch.equal(found.tensors[f"{layer.name}.weight"], weights)
    assert next(op.scale for op in found.ops if isinstance(op, Attention)) == pytest.approx(0.3)


def test_written_out_scale() -> None:
    assert next(op.scale for op in recognized(WrittenOut()).ops if isinstance(op, Attention)) == pytest.approx(0.5)


class Masked(Tiny):
    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mask = torch.ones(t, t).tril().log()
        return nn.functional.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(b, t, 8)


class Causal(Tiny):
    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, 8)


class WrongAxis(Tiny):
    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return ((q @ k.transpose(2, 3)).softmax(2) @ v).transpose(1, 2).reshape(b, t, 8)


class OverHeads(Tiny):
    """Attends over heads instead of tokens."""

    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).unbind(2)
        return nn.functional.scaled_dot_product_attention(q, k, v).reshape(b, t, 8)


class TalkingHeads(Tiny):
    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(2, 3)) * torch.tensor([0.5, 0.7]).view(1, 2, 1, 1)
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, 8)


class Rotated(Tiny):
    """Turns q and leaves k as it is."""

    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        angle = torch.arange(t).view(t, 1) * torch.tensor([1.0, 1.0, 0.1, 0.1])
        turned = torch.cat([-q[..., 2:], q[..., :2]], -1)
        q = q * angle.cos() + turned * angle.sin()
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, 8)


class PostNorm(Tiny):
    def join(self, x, branch):
        return self.norm2(x + branch)


class Gated(Tiny):
    def act(self, x):
        return x * torch.sigmoid(x.flip(-1))


class Hard(Tiny):
    def act(self, x):
        return nn.functional.hardswish(x)


class MixesImages(Tiny):
    def pool(self, x):
        return self.norm(x)[:, 0].flip(0)


class Overlapping(Tiny):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 6, 4, padding=1)


class Reordered(Tiny):
    def embed(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2).flip(1)
        return torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos


class ZeroBias(Tiny):
    """Adds a bias that is zero as it stands: only random parameters show that it is one."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(5, 5))

    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(2, 3) + self.bias
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, 8)


class WrittenOutMask(Masked):
    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        scores = ((q @ k.transpose(2, 3)) + torch.ones(t, t).tril().log() * 0.5) * 2
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, 8)


class MaskOfBooleans(Masked):
    def mix(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mask = torch.ones(t, t, dtype=torch.bool).tril()
        return nn.functional.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(b, t, 8)


class Shuffled(Tiny):
    """Attends among the first two and the last two patches, each with the class token, and takes every other token back."""

    def mix(self, x):
        b = len(x)
        windows = x[:, [0, 1, 2, 0, 3, 4]].reshape(2 * b, 3, 8)
        q, k, v = self.qkv(windows).reshape(2 * b, 3, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, 6, 8)
        return mixed[:, [0, 1, 2, 4, 5]]


class Upsampled(Tiny):
    def embed(self, x):
        return super().embed(nn.functional.interpolate(x, scale_factor=1.0, mode="nearest") + 0 * x.mean())


OTHER = [
    (Upsampled, "operator upsample_nearest2d"),
    (Causal, "causal"),
    (WrongAxis, "softmax over another axis"),
    (OverHeads, "attention among 2 of 5 tokens"),
    (TalkingHeads, "head by head"),
    (Rotated, "q and k changed in different ways"),
    (Gated, "product of two computed values"),
    (Hard, "the function applied to fc1"),
    (MixesImages, "regrouping the tokens of norm"),
    (Overlapping, "overlap"),
    (Reordered, "order of patch tokens"),
]


@pytest.mark.parametrize("module", [Masked, WrittenOutMask, MaskOfBooleans, ZeroBias])
def test_what_is_added_to_scores(module: type[Tiny]) -> None:
    found = recognized(module())
    attention = next(op for op in found.ops if isinstance(op, Attention))
    bias = found.tensors[f"{attention.name}.bias"]
    assert attention.groups == 1 and bias.shape == (1, 2, 5, 5)
    masked = torch.zeros(5, 5) if module is ZeroBias else torch.ones(5, 5).tril().log()
    assert torch.equal(bias, masked.expand(1, 2, 5, 5))


def test_any_windows_are_recognized() -> None:
    found = recognized(Shuffled())
    indices = [found.tensors[f"{op.name}.index"].squeeze(-1).tolist() for op in found.ops if isinstance(op, Regroup)]
    assert indices == [[[0, 1, 2], [0, 3, 4]], [0, 1, 2, 4, 5]]


def test_a_norm_can_make_the_stream() -> None:
    found = recognized(PostNorm())
    norms = {op.name for op in found.ops if isinstance(op, LayerNorm)}
    assert any(op.inputs[0] in norms for op in found.ops if isinstance(op, Residual))


@pytest.mark.parametrize(("module", "words"), OTHER)
def test_networks_that_only_look_alike_are_refused(module: type[Tiny], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        recognized(module())


def test_a_wrong_rule_is_caught_by_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    right = prove.recognize

    def wrong(graph: Graph, shape: tuple[int, ...], strict: bool) -> Recognized:
        found = right(graph, shape, strict)
        scale = next(k for k in found.tensors if k.endswith("residual.scale"))
        return Recognized(found.ops, found.outputs, True, {**found.tensors, scale: found.tensors[scale] * 1.001})

    monkeypatch.setattr(prove, "recognize", wrong)
    with pytest.raises(UnsupportedError, match="do not compute what the model computes"):
        recognized(Tiny())


def test_own_parameters_that_hide_a_branch_do_not_hide_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hidden(Tiny):
        def join(self, x, branch):
            return x + branch * self.norm1.weight

    module = Hidden()
    with torch.no_grad():
        module.norm1.weight.fill_(1e-9)
    right = prove.recognize

    def wrong(graph: Graph, shape: tuple[int, ...], strict: bool) -> Recognized:
        found = right(graph, shape, strict)
        zeroed = {**found.tensors, "fc2.weight": torch.from_numpy(np.zeros((8, 16), np.float32))}
        return Recognized(found.ops, found.outputs, True, zeroed)

    monkeypatch.setattr(prove, "recognize", wrong)
    with pytest.raises(UnsupportedError, match="do not compute what the model computes"):
        recognized(module)
