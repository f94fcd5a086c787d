"""Every timm family: accepted ones compute what timm computes, refused ones name the operator, all list their layers."""

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.doctor import doctor
from lampq_tvm.frontend.layers import layer_table
from lampq_tvm.frontend.load import import_source, load_model
from lampq_tvm.frontend.source import Request, open_source
from lampq_tvm.frontend.timm_source import build_timm
from lampq_tvm.network.execute import run_float
from lampq_tvm.network.model import Attention, ImportedModel, LayerNorm, MeanTokens, PatchEmbed, Regroup, TakeToken

SMALL = {"img_size": 32, "depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 7}
ACCEPTED = [
    ("vit_tiny_patch16_224", SMALL),
    ("vit_small_patch32_224", SMALL),
    ("vit_base_patch16_224", {**SMALL, "in_chans": 1}),
    ("vit_base_patch16_224", {**SMALL, "num_classes": 0}),
    ("vit_tiny_patch16_224", {**SMALL, "global_pool": "avg"}),
    ("vit_tiny_patch16_224", {**SMALL, "global_pool": "avg", "fc_norm": False}),
    ("vit_tiny_patch16_224", {**SMALL, "qkv_bias": False, "no_embed_class": True, "reg_tokens": 2}),
    ("vit_tiny_patch16_224", {**SMALL, "act_layer": "gelu_tanh"}),
    ("vit_tiny_patch16_224", {**SMALL, "act_layer": "quick_gelu"}),
    ("vit_medium_patch16_reg4_gap_256", SMALL),
    ("vit_wee_patch16_reg1_gap_256", {**SMALL, "embed_dim": 60}),
    ("deit_tiny_patch16_224", SMALL),
    ("deit_small_patch16_224", SMALL),
    ("deit_tiny_distilled_patch16_224", SMALL),
    ("deit_small_distilled_patch16_224", SMALL),
    ("deit3_small_patch16_224", SMALL),
    ("vit_small_patch14_dinov2", {**SMALL, "img_size": 28, "num_classes": 0}),
    ("vit_small_patch14_reg4_dinov2", {**SMALL, "img_size": 56}),
    ("vit_base_patch16_clip_224", SMALL),
    ("beit_base_patch16_224", SMALL),
    ("beitv2_base_patch16_224", SMALL),
    ("vit_giant_patch14_dinov2", {**SMALL, "img_size": 56}),
    ("eva02_tiny_patch14_336", {**SMALL, "img_size": 56}),
]
STAGES = {"depths": (2, 2), "num_heads": (3, 6), "embed_dim": 48, "num_classes": 7}
WINDOWS = [
    ("swin_tiny_patch4_window7_224", STAGES),
    ("swin_tiny_patch4_window7_224", {**STAGES, "img_size": 56, "window_size": 4}),  # 14 x 14 tokens, padded to 16 x 16
    ("swin_s3_tiny_224", {**STAGES, "window_size": (7, 14)}),
    ("swinv2_tiny_window8_256", {**STAGES, "img_size": 64}),
    ("swinv2_cr_tiny_ns_224", {**STAGES, "img_size": 64}),
    ("eva02_base_patch14_224", {**SMALL, "img_size": 56}),
    ("vit_base_patch16_siglip_224", SMALL),
    ("vit_base_patch16_siglip_gap_224", SMALL),
]
BLOCK = ["qkv", "proj", "fc1", "fc2"]
REFUSED = [
    ("eva02_base_patch16_clip_224", {**SMALL, "img_size": 64}, "LayerNorm on blocks.0.attn", ""),
    ("cait_xxs24_224", {"depth": 1, "img_size": 32}, "attention", ""),
    ("vit_small_patch16_18x2_224", SMALL, "parallel branches (sum)", ""),
    ("vit_tiny_patch16_224", {**SMALL, "qk_norm": True}, "normalization of q and k", ""),
    ("vit_tiny_patch16_224", {**SMALL, "global_pool": "max"}, "operator amax", ""),
]


loaded: dict[str, tuple[ImportedModel, torch.nn.Module, tuple]] = {}


def load_once(name: str, args: dict) -> tuple[ImportedModel, torch.nn.Module, tuple]:
    """The imported model, the same timm model, and the layer table of its graph."""
    key = f"{name} {args}"
    if key not in loaded:
        source = open_source(Request(name, model_args=args, seed=3))
        with torch.random.fork_rng():
            torch.manual_seed(3)
            module = timm.create_model(name, **args).eval()
        loaded[key] = import_source(source), module, layer_table(source.graph)
    return loaded[key]


@pytest.mark.parametrize(("name", "args"), ACCEPTED + WINDOWS)
def test_accepted_model_computes_what_timm_computes(name: str, args: dict) -> None:
    model, module, _ = load_once(name, args)
    shape = (3, model.input.channels, model.input.height, model.input.width)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(run_float(model, images), module(images), rtol=1e-5, atol=1e-5)
    assert len({op.name for op in model.ops}) == len(model.ops)
    assert model.weights == "random" and model.source == f"timm:{name}"
    assert model.has_classifier == (args["num_classes"] > 0)


@pytest.mark.parametrize(("name", "args"), ACCEPTED)
def test_layer_table_of_accepted_models(name: str, args: dict) -> None:
    model, _, table = load_once(name, args)
    heads = ["head"] * ((args["num_classes"] > 0) + ("distilled" in name))
    assert [layer.type for layer in model.layers] == ["patch_embed", *BLOCK * 2, *heads]
    assert [layer.name for layer in model.layers[1:5]] == [
        f"blocks.0.{n}" for n in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]
    for layer in model.layers:
        weight = model.tensors[f"{layer.name}.weight"]
        assert (layer.out_features, layer.in_features) == (len(weight), weight[0].size)
    assert table == model.layers


@pytest.mark.parametrize(("name", "args", "first", "also"), REFUSED)
def test_refused_by_the_operators_name(name: str, args: dict, first: str, also: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        load_model(name, model_args=args, strict_integer=True)
    assert first in caught.value.what.split(" is not supported")[0]
    assert also in caught.value.what
    assert str(caught.value).startswith(f"timm:{name}") and "\n" not in str(caught.value)


def table(name: str, **args: object) -> list[tuple[str, str, int, int]]:
    report = doctor(name, model_args=args)
    assert report.supported != bool(report.refused)
    return [(row.name, row.type, row.out_features, row.in_features) for row in report.layers]


def block(prefix: str, width: int, mlp: int) -> list[tuple[str, str, int, int]]:
    return [
        (f"{prefix}.attn.qkv", "qkv", 3 * width, width),
        (f"{prefix}.attn.proj", "proj", width, width),
        (f"{prefix}.mlp.fc1", "fc1", mlp, width),
        (f"{prefix}.mlp.fc2", "fc2", width, mlp),
    ]


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_layer_table_of_swin(name: str) -> None:
    want = [("patch_embed.proj", "patch_embed", 48, 48)]
    for stage, width in enumerate((48, 96)):
        if stage:
            want.append((f"layers.{stage}.downsample.reduction", "reduction", width, 2 * width))
        want += block(f"layers.{stage}.blocks.0", width, 4 * width)
    assert table(name, depths=(1, 1), num_heads=(3, 6), embed_dim=48) == [*want, ("head.fc", "head", 1000, 96)]


def test_layer_table_of_beit() -> None:
    want = [("patch_embed.proj", "patch_embed", 48, 768), *block("blocks.0", 48, 192), ("head", "head", 1000, 48)]
    assert table("beit_base_patch16_224", depth=1, embed_dim=48, num_heads=3) == want


def test_layer_table_of_eva02_with_a_gate_of_two_layers() -> None:
    """Its separate projections are one layer to the plan."""
    rows = table("eva02_base_patch14_224", depth=1, img_size=56, embed_dim=48, num_heads=3)
    kinds = {name.rpartition(".")[2]: kind for name, kind, _, _ in rows[1:6]}
    assert kinds == {"qkv": "qkv", "proj": "proj", "fc1_g": "fc1", "fc1_x": "fc1", "fc2": "fc2"}


def test_layer_table_of_siglip() -> None:
    rows = table("vit_base_patch16_siglip_224", depth=1, embed_dim=48, num_heads=3)
    assert rows[1:5] == block("blocks.0", 48, 192)
    assert [(name, kind) for name, kind, _, _ in rows[5:]] == [
        ("attn_pool.kv", "qkv"),
        ("attn_pool.proj", "proj"),
        ("attn_pool.mlp.fc1", "fc1"),
        ("attn_pool.mlp.fc2", "fc2"),
    ]


@pytest.mark.parametrize(("call", "name"), [(load_model, "resnet18"), (doctor, "resnet18"), (load_model, "convnext_atto")])
def test_no_attention_layer(call: Callable[..., object], name: str) -> None:
    args = {"depths": (1, 1, 1, 1)} if "convnext" in name else {"layers": (1, 1, 1, 1)}
    if call is load_model:
        with pytest.raises(UnsupportedError, match="no attention layer"):
            load_model(name, model_args=args, strict_integer=True)
    else:
        report = doctor(name, model_args=args)
        assert report.supported and report.parts and [layer.type for layer in report.layers] == ["head"]


def test_macs_of_deit_tiny() -> None:
    """197 tokens through blocks of 12 * 192^2 weights and attention, 196 patches and the head."""
    report = doctor("deit_tiny_patch16_224", model_args={"depth": 1})
    assert report.supported and report.refused == ()
    assert report.macs == 196 * 192 * 768 + 197 * 12 * 192 * 192 + 2 * 197 * 197 * 192 + 192 * 1000
    assert report.parameters == 5717416 - 11 * (12 * 192 * 192 + 13 * 192)
    assert (report.input.height, report.input.mean) == (224, (0.485, 0.456, 0.406))


def test_windows_go_round_the_attention_alone() -> None:
    """Codes of the norm are cut into windows, those of the attention are put back before the projection."""
    model = load_once(*WINDOWS[0])[0]
    kinds = {op.name: op for op in model.ops}
    for op in model.ops:
        if isinstance(op, Attention):
            assert isinstance(kinds[kinds[op.inputs[0]].inputs[0]], Regroup)
            (reader,) = model.consumers(op.name)
            assert isinstance(reader, Regroup)
            assert [layer.type for layer in model.layers if layer.name == model.consumers(reader.name)[0].name] == ["proj"]
    groups = [op.groups for op in model.ops if isinstance(op, Attention)]
    assert groups == [1, 64, 1, 16]  # 56 x 56 and 28 x 28 tokens in windows of 7; the shifted ones have masks


def test_merged_patches_are_a_reduction() -> None:
    model = load_once(*WINDOWS[0])[0]
    layer = next(layer for layer in model.layers if layer.type == "reduction")
    assert (layer.name, layer.out_features, layer.in_features) == ("layers.1.downsample.reduction", 96, 192)
    assert layer.macs == 28 * 28 * 96 * 192


def test_padding_of_windows_is_tokens_of_zeros() -> None:
    model = load_once(*WINDOWS[1])[0]
    first = next(op for op in model.ops if isinstance(op, Regroup))
    index = model.tensors[f"{first.name}.index"]
    assert index.shape == (16, 16, 1) and (index < 0).sum() == 16 * 16 - 14 * 14
    assert sorted(index[index >= 0]) == list(range(14 * 14))


def test_equal_positions_are_stored_once() -> None:
    model = load_once("beit_base_patch16_224", SMALL)[0]
    assert model.tensors["patch_embed.proj.pos"].shape == (1, 48) and model.tensors["patch_embed.proj.prefix"].shape == (1, 48)


def test_norm_is_moved_behind_the_choice_of_the_token() -> None:
    ops = load_once("deit_tiny_distilled_patch16_224", SMALL)[0].ops
    takes = [op for op in ops if isinstance(op, TakeToken)]
    assert [op.index for op in takes] == [0, 1]
    assert len({op.inputs for op in takes}) == 1 and takes[0].inputs[0].endswith("residual")
    assert all(isinstance(op, LayerNorm) for op in ops if op.inputs[0] in {t.name for t in takes})


def test_pooling_skips_prefix_tokens() -> None:
    ops = load_once("vit_medium_patch16_reg4_gap_256", SMALL)[0].ops
    assert next(op.start for op in ops if isinstance(op, MeanTokens)) == 4
    assert next(op.prefix_tokens for op in ops if isinstance(op, PatchEmbed)) == 4


def test_one_channel_takes_the_average_of_mean_and_std() -> None:
    spec = open_source(Request("deit_tiny_patch16_224", model_args={**SMALL, "in_chans": 1})).input
    np.testing.assert_allclose(spec.mean + spec.std, (np.mean([0.485, 0.456, 0.406]), np.mean([0.229, 0.224, 0.225])))


def test_seed_decides_random_weights() -> None:
    first, again, other = (build_timm("vit_tiny_patch16_224", None, False, SMALL, s).head.weight for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
