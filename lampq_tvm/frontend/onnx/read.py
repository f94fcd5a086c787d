"""An ONNX file becomes an exported torch program, so that one recognizer serves every source.

First every node runs once on a blank image: what does not depend on the image (shapes above all) becomes a constant.
The rest is a torch module that runs the remaining nodes, which torch.export then traces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx.external_data_helper
import onnx.inliner
import onnx.numpy_helper
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from lampq_tvm.errors import UnsupportedError, UsageError, is_bug
from lampq_tvm.files import reason
from lampq_tvm.frontend.export import export_module
from lampq_tvm.frontend.model_files import read_onnx
from lampq_tvm.frontend.onnx.check import check_form, check_onnx
from lampq_tvm.frontend.onnx.constants import evaluated
from lampq_tvm.frontend.onnx.memory import MAX_BYTES, Bounded
from lampq_tvm.frontend.onnx.names import scope
from lampq_tvm.frontend.onnx.ops import RULES
from lampq_tvm.quiet import quiet

WEIGHTED = {"MatMul": ("", "weight"), "Gemm": ("", "weight", "bias"), "Conv": ("", "weight", "bias")}
WEIGHTED |= {"LayerNormalization": ("", "weight", "bias")}
WHOLE = {*WEIGHTED, "ConvTranspose", "BatchNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"}
WHOLE |= {"Concat", "PRelu"}  # whose constants stay tensors, also of one element
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
QUANTIZED = ("Quantize", "Dequantize", "QLinear", "Integer")  # parts of names
MAX_PIXELS = 64 << 20  # of a batch
MAX_INTEGERS = 1 << 20  # of one constant that is no weight
BATCH = 2  # for files whose batch is free: two images, so that a model that mixes images is noticed


@dataclass(frozen=True)
class Step:
    """A node that depends on the image.

    Attributes:
        kind: ONNX operator; attributes: its own, the opset and the number of outputs.
        inputs: for each input (`value`, name), (`tensor`, attribute path) or (`constant`, Python number or list).
        outputs: names.
    """

    kind: str
    attributes: dict[str, Any]
    inputs: tuple[tuple[str, Any], ...]
    outputs: tuple[str, ...]


class Network(nn.Module):
    """Runs the steps; its parameters carry the names of the source model."""

    def __init__(self, image: str, results: Sequence[str]) -> None:
        super().__init__()
        self.image, self.results = image, tuple(results)
        self.steps: list[Step] = []

    def keep(self, path: str, tensor: Tensor, trained: bool) -> str:
        """Register a constant under a dotted path, changed where it is taken, and return that path.

        Trained ones become parameters; those computed from others (positions repeated for a batch) become buffers.
        """
        *parents, leaf = (re.sub(r"\W", "_", part) or "_" for part in path.split("."))
        owner: nn.Module = self
        for part in parents:
            while part not in owner._modules and hasattr(owner, part):
                part += "_"
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        while hasattr(owner, leaf):
            leaf += "_"
        if trained:
            owner.register_parameter(leaf, nn.Parameter(tensor.clone(), requires_grad=False))
        else:
            owner.register_buffer(leaf, tensor.clone())
        return next(name for name, t in self._tensors().items() if t is getattr(owner, leaf))

    def _tensors(self) -> dict[str, Tensor]:
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Run every step; the outputs."""
        values: dict[str, Any] = {self.image: image}
        tensors = self._tensors()
        for step in self.steps:
            inputs = [tensors[v] if kind == "tensor" else values[v] if kind == "value" else v for kind, v in step.inputs]
            results = RULES[step.kind](inputs, step.attributes)
            values |= zip(step.outputs, results if isinstance(results, list) else [results], strict=False)
        return tuple(values[name] for name in self.results)


def import_onnx(path: Path, size: tuple[int, int] | None) -> ExportedProgram:
    """Read an ONNX file and export it as a torch program.

    Args:
        path: the file.
        size: height and width, for files that leave them open.

    Raises:
        UsageError: the file is broken. UnsupportedError: an operator, or the form of inputs and outputs, is not served.
    """
    model, limit_bytes = _read(path)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    held = {t.name: _tensor(t) for t in model.graph.initializer}
    image, shape = _image(model.graph, set(held), size, str(path))
    network = Network(image, [output.name for output in model.graph.output])
    nodes, constants = _fold(model.graph, opset, held, image, shape, limit_bytes, str(path))
    _fill(network, nodes, constants, _trained(model.graph, set(held)), opset)
    return export_module(network, shape, str(path))


def _tensor(proto: Any) -> Tensor:
    """A constant; float16 as float32, in which everything is computed."""
    found = torch.from_numpy(onnx.numpy_helper.to_array(proto).copy())
    return found.float() if found.dtype is torch.float16 else found


def _read(path: Path) -> tuple[Any, int]:
    """The judged model with its external data, and the most bytes that a result of one of its operators may have."""
    model = read_onnx(path)
    check_onnx(model, path)
    try:
        with quiet():
            onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
            check_form(model, str(path))
            model = onnx.inliner.inline_local_functions(model) if model.functions else model
    except UsageError:
        raise
    except Exception as e:  # the inliner and external data raise different kinds
        raise UsageError(f"not a readable ONNX file ({reason(e)})", where=str(path), hint="export it again") from e
    held = sum(len(t.raw_data) for t in model.graph.initializer) + path.stat().st_size
    return model, MAX_BYTES + 2 * held


def _image(graph: Any, held: set[str], size: tuple[int, int] | None, where: str) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the only input."""
    inputs = [i for i in graph.input if i.name not in held]
    kind = inputs[0].type.tensor_type if inputs else None
    if len(inputs) != 1 or kind is None or len(kind.shape.dim) != 4 or kind.elem_type not in FLOATS:
        raise UnsupportedError("the model does not take exactly one float32 image batch [B, C, H, W]", where=where)
    batch, channels, *image = [d.dim_value for d in kind.shape.dim]
    height, width = size if size is not None and 0 in image else image
    if not (channels and height and width):
        raise UsageError("the file leaves the image size open", where=where, hint="give --size, or export with a fixed one")
    if min(batch, channels, height, width) < 0 or (batch or BATCH) * channels * height * width > MAX_PIXELS:
        what = f"images of {[batch, channels, height, width]} are negative or too large"
        raise UnsupportedError(what, where=where, hint="export it for a batch of 1")
    return inputs[0].name, (batch or BATCH, channels, height, width)


def _attributes(node: Any, opset: int) -> dict[str, Any]:
    found: dict[str, Any] = {"opset": opset, "outputs": sum(1 for name in node.output if name)}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = _tensor(value)
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _fold(
    graph: Any, opset: int, held: dict[str, Tensor], image: str, shape: tuple[int, ...], limit_bytes: int, where: str
) -> tuple[list[Any], dict[str, Tensor]]:
    """Run every node once; return those that depend on the image, and the values of all others.

    Args:
        limit_bytes: of one operator's result, and of those that are kept.
    """
    values: dict[str, Any] = {**held, image: torch.zeros(shape)}
    made: dict[int, int] = {}  # bytes of constants by address
    computed, kept = {image}, []
    last = {name: i for i, node in enumerate(graph.node) for name in node.input}
    with Bounded(limit_bytes):
        for i, node in enumerate(graph.node):
            inputs = [values[name] if name else None for name in node.input]
            fixed = not computed & set(node.input)
            results = _run(node, opset, inputs, where, limit_bytes if fixed else 0)
            values |= zip(node.output, results, strict=False)
            if not fixed and node.op_type not in ("Shape", "Size"):
                computed |= set(node.output)
                kept.append(node)
                for name in {*node.input, *node.output} & computed:
                    if last.get(name, i) <= i:
                        values.pop(name, None)
            else:
                storages = [r.untyped_storage() for r in results if isinstance(r, Tensor)]
                made |= {s.data_ptr(): s.nbytes() for s in storages}  # a view of another constant takes nothing
                if sum(made.values()) > limit_bytes:
                    raise UnsupportedError(f"its constants grow beyond {limit_bytes} bytes", where=where)
    return _needed(kept, [output.name for output in graph.output]), {k: v for k, v in values.items() if k not in computed}


def _run(node: Any, opset: int, inputs: list[Any], where: str, limit_bytes: int) -> list[Any]:
    """A node's results; `limit_bytes`: of those of constants, 0 for other nodes."""
    where = f"{where}: {node.name or next(iter(node.output), node.op_type)}"
    known = node.op_type in RULES or node.op_type == "Constant"
    if node.domain not in ("", "ai.onnx"):
        raise UnsupportedError(f"ONNX operator {node.domain}.{node.op_type} is not supported", where=where, hint=_hint(node))
    if any(part in node.op_type for part in QUANTIZED):
        raise UnsupportedError(f"the file is quantized already ({node.op_type})", where=where, hint=_hint(node))
    if not known and not limit_bytes:
        raise UnsupportedError(f"ONNX operator {node.op_type} is not supported", where=where)
    try:
        attributes = _attributes(node, opset)
        if node.op_type == "Constant":
            return [next(torch.as_tensor(v) for k, v in attributes.items() if k.startswith("value"))]
        if not known:
            return evaluated(node, opset, inputs, limit_bytes)
        with torch.no_grad():
            results = RULES[node.op_type](inputs, attributes)
    except UnsupportedError as e:
        what = e.what if e.what.startswith("ONNX") else f"ONNX operator {node.op_type} would make {e.what}"
        raise UnsupportedError(what, where=where) from e
    except Exception as e:  # whatever torch raises on inputs that do not fit together
        if is_bug(e):
            raise
        raise UnsupportedError(f"ONNX operator {node.op_type} cannot run on its inputs ({reason(e)})", where=where) from e
    found = results if isinstance(results, list) else [results]
    named = max((i + 1 for i, name in enumerate(node.output) if name), default=0)
    if len(found) < named:
        raise UnsupportedError(f"ONNX operator {node.op_type} with {named} outputs is not supported", where=where)
    return found


def _hint(node: Any) -> str | None:
    """What would work in place of an operator that is not of ONNX itself, or of a quantized file."""
    if any(part in node.op_type for part in QUANTIZED):
        return "give the float model; what is quantized, and to how many bits, is chosen here"
    return "export it again without fusions for a runtime"


def _needed(nodes: list[Any], outputs: Sequence[str]) -> list[Any]:
    """The nodes that the outputs depend on."""
    wanted, needed = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            needed.append(node)
            wanted |= set(node.input)
    return needed[::-1]


def _trained(graph: Any, held: set[str]) -> set[str]:
    """Names of initializers, and of those that are only renamed or transposed."""
    for node in graph.node:
        if node.op_type in ("Identity", "Transpose") and node.input[0] in held:
            held = held | set(node.output)
    return held


def _fill(network: Network, nodes: list[Any], constants: dict[str, Tensor], trained: set[str], opset: int) -> None:
    """Turn nodes into steps: large float constants become parameters, the rest plain numbers and lists."""
    uses = Counter(name for node in nodes for name in node.input)
    kept: dict[str, str] = {}  # where constants were registered: one that several nodes read is one
    for node in nodes:
        fields, inputs = WEIGHTED.get(node.op_type, ()), []
        for i, name in enumerate(node.input):
            value = constants.get(name)
            if value is None:
                inputs.append(("value", name) if name else ("constant", None))
            elif node.op_type == "Resize" and value.is_floating_point():
                inputs.append(("constant", value.tolist()))
            elif not value.is_floating_point() or (value.numel() == 1 and value.ndim < 2 and node.op_type not in WHOLE):
                if value.numel() > MAX_INTEGERS:
                    raise UnsupportedError(f"a constant of {value.numel()} integers", where=node.name or node.output[0])
                inputs.append(("constant", value.flatten()[0].item() if value.is_floating_point() else value.tolist()))
            else:
                role = fields[i] if i < len(fields) else ""
                path = f"{scope(node, node.input[1], uses[node.input[1]] > 1)}.{role}" if role else name
                if name not in kept:
                    kept[name] = network.keep(path, value, name in trained)
                inputs.append(("tensor", kept[name]))
        network.steps.append(Step(node.op_type, _attributes(node, opset), tuple(inputs), tuple(node.output)))
