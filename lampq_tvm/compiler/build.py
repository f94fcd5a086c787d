"""A lowered module becomes the sections and the manifest of an artifact."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from safetensors.numpy import save as save_tensors
from tvm import relax

from lampq_tvm import __version__
from lampq_tvm.artifact.bits import pack_bits
from lampq_tvm.compiler.linking import link_library
from lampq_tvm.lower.context import TilesFor
from lampq_tvm.lower.module import Lowered, lower
from lampq_tvm.lower.shared import shared_names
from lampq_tvm.network.op import IMAGE
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.op import QOp
from lampq_tvm.quantize.operators.float_part import QFloatPart
from lampq_tvm.records.cpu import Records
from lampq_tvm.scratch import scratch
from lampq_tvm.targets import Target

NOTHING: Mapping[str, np.ndarray] = MappingProxyType({})


def build(
    qm: QuantizedModel, target: Target, *, batch: int = 1, database: Path | None = None, tiles: TilesFor | None = None
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Compile an integer network for a target.

    Args:
        qm: the network.
        target: what to compile for.
        batch: images per call of the compiled function.
        database: the user's tuning records, looked up before the shipped ones.
        tiles: tile sizes by product instead of any record's; default ones where it returns None.

    Returns:
        (sections, manifest) for `write_artifact`: `lib.so`, `payload.safetensors`, `plan.json`.
    """
    lowered = lower(qm, target.isa, batch, tiles or Records(database))
    head = manifest(qm, target, batch)
    head |= {"params": list(lowered.recipes), "values": [dataclasses.asdict(value) for value in lowered.values]}
    head |= {"arena_bytes": lowered.arena_bytes, "largest_activation_bytes": lowered.largest_activation_bytes}
    return {"lib.so": compile_library(lowered, target), **common_sections(qm, lowered.stored)}, head


def common_sections(qm: QuantizedModel, stored: Mapping[str, np.ndarray] = NOTHING) -> dict[str, bytes]:
    """The sections of every artifact, whatever it runs on; `stored`: arrays of kernels beside the network's."""
    return {"payload.safetensors": payload(qm, stored), "plan.json": qm.plan.model_dump_json(indent=2).encode()}


def compile_library(lowered: Lowered, target: Target) -> bytes:
    """The shared library of a lowered module, the same bytes every time."""
    executable = tvm.compile(lowered.module, target=tvm.target.Target(target.tvm), relax_pipeline=pipeline())
    with scratch("build") as folder:
        return link_library(executable, target, Path(folder) / "lib.so").read_bytes()


def pipeline() -> tvm.transform.Pass:
    """The passes a module of kernel calls with placed tensors needs to become the virtual machine's instructions."""
    return tvm.transform.Sequential(
        [
            relax.transform.LowerAllocTensor(),
            relax.transform.KillAfterLastUse(),
            relax.transform.LowerRuntimeBuiltin(),
            relax.transform.ComputePrimValue(),
            relax.transform.VMShapeLower(),
            relax.transform.AttachGlobalSymbol(),
        ]
    )


def payload(qm: QuantizedModel, stored: Mapping[str, np.ndarray] = NOTHING) -> bytes:
    """The network's constants: weights at exactly their width, everything else as it is, equal tables once.

    Args:
        stored: what kernels of float parts read, in place of these parts' own constants.
    """
    parts = {op.name for op in qm.ops if isinstance(op, QFloatPart)}
    copies = shared_names(qm.tensors)
    packed = {f"{op.name}.{field}": kind for op in qm.ops for field, kind in op.packed.items()}
    widths = {name: kind.bits for name, kind in packed.items() if not kind.is_float}
    kept = {
        k: stored_codes(v, qm.tensors.get(f"{k[:-1]}zero"), qm.tensors.get(f"{k[:-1]}levels")) if k in packed else v
        for k, v in qm.tensors.items()
        if k not in copies and k.rpartition(".")[0] not in parts
    } | dict(stored)
    arrays = {k: pack_bits(v, widths[k]) if k in widths else np.asarray(v, order="C") for k, v in kept.items()}
    saved: bytes = save_tensors(dict(sorted(arrays.items())))
    return saved


def stored_codes(
    weights: npt.NDArray[Any], zero: npt.NDArray[np.int8] | None, levels: npt.NDArray[np.int8] | None
) -> npt.NDArray[Any]:
    """Codes [N, K] of weights that are code - zero [N], or levels [codes]; the weights where they are neither."""
    if levels is not None:
        return (np.searchsorted(levels, weights) - len(levels) // 2).astype(np.int8)
    return weights if zero is None else (weights.astype(np.int16) + zero[:, None]).astype(np.int8)


def manifest(qm: QuantizedModel, target: Target, batch: int) -> dict[str, Any]:
    """What the runtime and `inspect` need to know, but for kernels' parameters and values."""
    return {
        "model": qm.plan.model,
        "target": target.name,
        "arch": target.kind,
        "isa": target.isa,
        "features": list(target.features),
        "batch": batch,
        "input": dataclasses.asdict(qm.input),
        "layers": layer_rows(qm),
        "quantizers": qm.quantizers,
        "weights": qm.weights,
        "has_classifier": qm.has_classifier,
        **({"outputs": list(qm.outputs)} if qm.outputs != (qm.ops[-1].name,) else {}),
        "versions": {"lampq_tvm": __version__, "tvm": tvm.__version__},
    }


def layer_rows(qm: QuantizedModel) -> list[dict[str, Any]]:
    """Rows of `inspect`: the plan's layers and, without parameters, products of computed values after the layer behind them."""
    inputs, layers = {op.name: op.inputs for op in qm.ops}, {layer.name for layer in qm.plan.layers}
    products: dict[str, list[QOp]] = {}
    for op in qm.ops:
        if op.unweighted:
            products.setdefault(_layer_behind(op.name, inputs, layers), []).append(op)
    rows = [row for op in products.get(IMAGE, []) for row in _product_rows(op)]
    for layer in qm.plan.layers:
        rows.append(layer.model_dump(exclude={"reason"}))
        rows += [row for op in products.get(layer.name, []) for row in _product_rows(op)]
    return rows


def _product_rows(op: QOp) -> list[dict[str, Any]]:
    widths = [(product, {"w_bits": kind.bits, "a_bits": kind.bits}) for product, kind in op.unweighted.items()]
    return [{"name": f"{op.name}.{product}", "type": product, **each, "params": 0} for product, each in widths]


def _layer_behind(name: str, inputs: Mapping[str, tuple[str, ...]], layers: Collection[str]) -> str:
    """The layer that an attention's operands come from; `IMAGE` where none stands before."""
    while name not in layers and name != IMAGE:
        name = inputs[name][0]
    return name
