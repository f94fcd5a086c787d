"""Builds, where there is no GPU, everything that bench/cuda/check.py runs where there is one.

    python -m bench.cuda.bundle --target h200@cuda12 --output build/cuda_check

Kernels over edge shapes with the bytes that the oracle expects, candidates of tiles for the products of the timed models, and
whole artifacts with the reference's logits. The folder needs numpy, the runtime and a driver there, and nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.plans import paired_plan
from bench.cuda.cases import small_kernels
from bench.cuda.fused import fused_products
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.artifact.container import pack
from lampq_tvm.bitplan import BitPlan, uniform_plan
from lampq_tvm.compiler.cuda.build import CompiledKernel, build_cuda, compile_kernels
from lampq_tvm.errors import LampqError
from lampq_tvm.kernels.cuda.attention import build_attention
from lampq_tvm.kernels.cuda.attention_shape import CudaAttentionShape
from lampq_tvm.kernels.cuda.emit import CudaKernel
from lampq_tvm.kernels.cuda.levels import attention_mma, mma_for
from lampq_tvm.kernels.cuda.mma import Mma
from lampq_tvm.kernels.cuda.norm import build_norm
from lampq_tvm.kernels.cuda.product import build_product
from lampq_tvm.kernels.cuda.tiles import CudaTiles, default_tiles
from lampq_tvm.kernels.shapes import EPILOGUES, ProductShape
from lampq_tvm.kinds import Kind
from lampq_tvm.lower.cuda.launch import Launch, Value
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.reference import run_reference
from lampq_tvm.records.cuda import attention_key, product_key
from lampq_tvm.store import write_atomic
from lampq_tvm.targets import Target, resolve_target
from lampq_tvm.tune.cuda.case import EPS, CudaCase, attention_case, norm_case, product_case
from lampq_tvm.tune.cuda.space import candidates

EDGES = ((1, 10, 96), (17, 34, 40), (63, 65, 129), (64, 64, 64), (65, 130, 33), (197, 576, 192), (200, 70, 768))
PAIRS = ((8, 8), (4, 8), (4, 4))
MODELS = {
    "deit_tiny": ("deit_tiny_patch16_224", (1, 32), 192),
    "deit_small": ("deit_small_patch16_224", (1, 8, 32), 384),
    "vit_base": ("vit_base_patch16_224", (1, 32), 768),
}
BLOCK = re.compile(r"blocks\.\d+\.")
FEW = (  # what the search is sure to try for few rows, and for many
    CudaTiles(32, 64, 32, 3, 1, 2, 2),
    CudaTiles(32, 64, 16, 3, 1, 2, 2),
    CudaTiles(32, 64, 32, 3, 1, 2, 4),
    CudaTiles(16, 64, 32, 3, 1, 2, 2),
    CudaTiles(32, 32, 32, 3, 1, 1, 4),
    CudaTiles(64, 64, 32, 3, 2, 2, 2),
    CudaTiles(32, 128, 32, 3, 1, 4, 2),
    CudaTiles(16, 64, 32, 3, 1, 1, 4),
)
MANY = (
    CudaTiles(128, 128, 16, 3, 2, 4),
    CudaTiles(128, 64, 16, 3, 2, 2),
    CudaTiles(128, 128, 32, 3, 2, 4),
    CudaTiles(128, 128, 16, 4, 2, 4),
    CudaTiles(128, 128, 16, 3, 2, 2),
    CudaTiles(192, 128, 32, 3, 4, 2),
    CudaTiles(64, 128, 16, 3, 2, 2),
    CudaTiles(64, 64, 32, 3, 2, 2),
    CudaTiles(128, 64, 32, 3, 2, 2),
    CudaTiles(96, 128, 32, 3, 2, 2),
)
ATTENTION_WARPS = ((4, 1), (1, 4), (2, 2), (2, 4), (4, 2), (1, 2), (8, 1))  # for rows, for keys
PLANS = ("16", "8", "mixed")
PARTS = ("kernels", "candidates", "models")
NOWHERE = ("out", Value("x", 1, 1, "float32"))


def edge_kernels(arch: str) -> Iterator[tuple[str, Any, CudaCase]]:
    """(name, builder, case) of every kernel over edge shapes; nibbles by their own instruction too, emulated or not."""
    for i, (rows, n, k) in enumerate(EDGES):
        for w, a in PAIRS:
            for mma in dict.fromkeys((mma_for(w, a, arch), mma_for(w, a, "sm_87"))):
                for j, epilogue in enumerate(EPILOGUES if k < 192 else EPILOGUES[i % 2 :: 3]):
                    period = rows if epilogue == "stream" else 0
                    shape, normed = ProductShape(rows, n, k, epilogue, period), (i + j) % 2 == 0 and not period
                    tiles, eps = default_tiles(shape, mma), EPS if normed else None
                    yield (
                        f"{shape.key}_{mma.name}_w{w}a{a}{'_normed' if normed else ''}",
                        lambda name, s=shape, m=mma, e=eps: build_product(s, m, norm_eps=e, name=name),
                        product_case(shape, w, a, mma, tiles, normed=normed, seed=i),
                    )
    sizes = ((1, 197, 3, 64), (2, 50, 3, 32), (1, 65, 2, 16), (3, 31, 1, 72), (1, 1, 1, 8))
    for size, warps in itertools.product(sizes, ((4, 1), (1, 4), (4, 2))):
        attention = CudaAttentionShape(*size, *warps)
        yield (
            f"attention_{'x'.join(map(str, (*size, *warps)))}",
            lambda name, s=attention: build_attention(s, attention_mma(arch), name=name),
            attention_case(attention),
        )
    for rows, channels in ((1, 1), (5, 33), (197, 192), (64, 768)):
        name = f"norm_{rows}x{channels}"
        yield name, lambda name, r=rows, c=channels: build_norm(r, c, EPS, out=Kind.INT8, name=name), norm_case(rows, channels)
    for biased in (CudaAttentionShape(6, 49, 2, 32, 2, 1, 3, 2), CudaAttentionShape(1, 197, 3, 64, 1, 4, 1, 1)):
        key = f"{attention_key(biased)}_{biased.row_warps}x{biased.key_warps}"
        yield key, lambda name, s=biased: build_attention(s, attention_mma(arch), name=name), attention_case(biased)
    yield from small_kernels()
    yield from fused_products(arch)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A kernel of a bundle: with the buffers and the bytes that the oracle expects, with those of an earlier entry of that
    `same`, or, to be timed alone, with its buffers' sizes."""

    name: str
    kernel: CompiledKernel
    case: CudaCase | None = None
    same: str = ""


def save(path: Path, rows: list[Entry]) -> None:
    """Kernels and their buffers as one .npz; `index` is JSON."""
    arrays: dict[str, np.ndarray] = {}
    index = []
    for i, row in enumerate(rows):
        kernel = row.kernel
        arrays[f"{i}/cubin"] = np.frombuffer(kernel.cubin, np.uint8)
        if row.case is not None:
            arrays |= {f"{i}/{key}": array for key, array in row.case.buffers.items()} | {f"{i}/expected": row.case.expected}
        how = {"entry": kernel.entry, "params": kernel.params, "grid": kernel.kernel.grid, "block": kernel.kernel.block}
        how |= {"sizes": [] if row.same else kernel.buffers, "of": row.case.of if row.case else "out"}
        index.append({"name": row.name, "same": row.same, "shared_bytes": kernel.kernel.shared_bytes, **how})
    arrays["index"] = np.frombuffer(json.dumps(index).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def compiled(builders: dict[str, Any], target: Target) -> dict[str, CompiledKernel]:
    """Kernels by name."""
    launches = [Launch(name, build, {}, {}, NOWHERE) for name, build in builders.items()]
    return compile_kernels(launches, target.isa, target.cuda_major or 0)


def bundle_kernels(target: Target, folder: Path) -> None:
    """`kernels.npz`."""
    found = list(edge_kernels(target.isa))
    kernels = compiled({f"k{i}": build for i, (_, build, _) in enumerate(found)}, target)
    save(folder / "kernels.npz", [Entry(name, kernels[f"k{i}"], case, name) for i, (name, _, case) in enumerate(found)])
    print(f"kernels: {len(found)}")


def products(channels: int, batch: int) -> list[tuple[ProductShape, bool]]:
    """The four products of a block, and whether LayerNorm is part of them."""
    rows, normed = 197 * batch, batch == 1
    qkv, proj = ProductShape(rows, 3 * channels, channels, "codes"), ProductShape(rows, channels, channels, "residual")
    fc1, fc2 = ProductShape(rows, 4 * channels, channels, "table"), ProductShape(rows, channels, 4 * channels, "residual")
    return [(qkv, normed), (proj, False), (fc1, normed), (fc2, False)]


def bundle_candidates(target: Target, folder: Path, models: list[str], each: int) -> None:
    """`candidates-MODEL.npz`: tiles of every product and warps of attention, at each batch.

    Of each the default, likely ones (`FEW`, `MANY`) and a random choice of the others; what fails to build is counted. At
    batch 1 they are compared, larger ones are timed alone.
    """
    for model in models:
        rows: list[Entry] = []
        tried = 0
        _, batches, channels = MODELS[model]
        for batch in batches:
            for shape, normed in products(channels, batch):
                mma = mma_for(8, 8, target.isa)
                for tiles in chosen(candidates(shape, mma, target.isa, normed=normed), shape.rows < 512, each):
                    tried += 1
                    kernel = candidate(shape, mma, tiles, normed, target)
                    if kernel is not None:
                        rows.append(product_entry(shape, mma, tiles, normed, kernel, rows))
            others = attentions(channels, batch, target.isa)
            size = (197 * batch, channels, EPS)
            others[f"norm_r{size[0]}_c{channels}_tdefault"] = lambda name, size=size: build_norm(
                *size, out=Kind.INT8, name=name
            )
            rows += [Entry(name, kernel) for name, kernel in compiled(others, target).items()]
        save(folder / f"candidates-{model}.npz", rows)
        print(f"candidates of {model}: {tried}, {tried - sum(row.name[0] not in 'an' for row in rows)} failed", flush=True)


def chosen(able: list[CudaTiles], few: bool, each: int) -> list[CudaTiles]:
    """The default tiles, the likely ones that are able, and others drawn at random: `each` in all."""
    likely = [tiles for tiles in (FEW if few else MANY) if tiles in able]
    found = dict.fromkeys([able[0], *likely][:each])
    rest = [tiles for tiles in able if tiles not in found]
    return [*found, *random.Random(0).sample(rest, max(0, min(each - len(found), len(rest))))]


def product_entry(
    shape: ProductShape, mma: Mma, tiles: CudaTiles, normed: bool, kernel: CompiledKernel, rows: list[Entry]
) -> Entry:
    """A candidate's entry; the packed weights, hence the case, depend on its step's words."""
    name = product_key(shape, mma, normed)
    if shape.rows > 197:
        return Entry(f"{name}_t{tiles.key}", kernel)
    same = f"{name}_k{tiles.words}"
    known = any(row.same == same for row in rows)
    case = None if known else product_case(shape, 8, 8, mma, tiles, normed=normed)
    return Entry(f"{name}_t{tiles.key}", kernel, case, same)


def attentions(channels: int, batch: int, arch: str) -> dict[str, Callable[[str], CudaKernel]]:
    """Builders of a model's attention with different warps, by name."""
    shapes = (CudaAttentionShape(batch, 197, channels // 64, 64, *warps) for warps in ATTENTION_WARPS)
    return {
        f"{attention_key(s)}_t{s.row_warps}x{s.key_warps}": lambda name, s=s: build_attention(s, attention_mma(arch), name=name)
        for s in shapes
    }


def candidate(shape: ProductShape, mma: Mma, tiles: CudaTiles, normed: bool, target: Target) -> CompiledKernel | None:
    """A built candidate, None where it does not build."""
    try:
        builders = {"c": lambda name: build_product(shape, mma, tiles=tiles, norm_eps=EPS if normed else None, name=name)}
        return compiled(builders, target)["c"]
    except (LampqError, RuntimeError, ValueError):
        return None


def mixed_plan(pipeline: Pipeline) -> BitPlan:
    """What LampQ chooses at 4 bits looks like this on random weights: blocks at the ends wide, the others narrow."""
    count = len(pipeline.model.layers)
    middle = range(count // 8, count - count // 8)
    pairs = [((4, 8) if i % 2 else (4, 4)) if i in middle else (8, 8) for i in range(count)]
    return paired_plan(pipeline.model, pairs)


def with_equal_blocks(qm: QuantizedModel) -> QuantizedModel:
    """The network with the first block's constants in every block of the same widths, so that a bundle compresses tenfold.

    Every block still has memory of its own, and the reference is asked about this network: exactness and times are real.
    """
    widths: dict[str, tuple[Any, ...]] = {}
    for row in qm.plan.layers:
        block = BLOCK.match(row.name)
        if block:
            widths[block[0]] = (*widths.get(block[0], ()), row.w_bits, row.a_bits)
    first = {block: next(b for b in widths if widths[b] == widths[block]) for block in widths}

    def source(name: str) -> str:
        block = BLOCK.match(name)
        return first[block[0]] + name[block.end() :] if block else name

    return dataclasses.replace(qm, tensors={name: qm.tensors[source(name)] for name in qm.tensors})


def bundle_models(target: Target, folder: Path, models: list[str], labels: Sequence[str]) -> None:
    """`MODEL-PLAN.lampq` and the logits of two images beside it."""
    for name in models:
        source, batches, _ = MODELS[name]
        for label in labels:
            pipeline = Pipeline(Options(source, target=target.name, calib_images=4, batch=max(batches)))
            uniform = {"16": (16, 16, 16), "8": (8, 8, 8)}.get(label)
            plan = uniform_plan(pipeline.model, *uniform) if uniform else mixed_plan(pipeline)
            file = folder / f"{name}-{label}.json"
            plan.save(file)
            pipeline = Pipeline(pipeline.options, file)
            network = with_equal_blocks(pipeline.quantized)
            made = build_cuda(network, target, batch=max(batches))
            write_atomic(folder / f"{name}-{label}.lampq", pack(made.sections, made.manifest))
            images, _ = next(pipeline.calib_data.batches(2))
            logits = run_reference(network, images)
            np.savez_compressed(folder / f"{name}-{label}.npz", images=images, logits=logits)
            print(f"{name} {label}: {len(made.manifest['cuda']['kernels'])} kernels", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="h200@cuda12")
    parser.add_argument("--output", type=Path, default=Path("build/cuda_check"))
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--plans", nargs="+", choices=PLANS, default=PLANS, help="of the models")
    parser.add_argument("--candidates", type=int, default=24, help="of each product")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    target = resolve_target(args.target)
    if "kernels" in args.parts:
        bundle_kernels(target, args.output)
    if "candidates" in args.parts:
        bundle_candidates(target, args.output, args.models, args.candidates)
    if "models" in args.parts:
        bundle_models(target, args.output, args.models, args.plans)


if __name__ == "__main__":
    main()
