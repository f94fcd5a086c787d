"""The whole network as launches, for one batch size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.kernels.cuda.tokens import build_copy
from lampq_tvm.lower.cuda.context import CudaContext
from lampq_tvm.lower.cuda.launch import Launch, Value, builder
from lampq_tvm.lower.cuda.operators import RULES
from lampq_tvm.lower.cuda.passes import PASSES
from lampq_tvm.lower.memory import Arena, Step, plan_memory
from lampq_tvm.lower.shared import renamed, shared_names
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.op import QOp
from lampq_tvm.records.cuda import CudaRecords

Seen = Callable[[str, CudaContext], None]


@dataclass(frozen=True)
class CudaLowered:
    """A lowered network for one batch size.

    Attributes:
        batch: images per call.
        launches: in order.
        image: the value that the pixels are copied to.
        offsets: byte in the arena at which each value begins, by name.
        arena_bytes: of the arena.
        outputs: names of the values that the network gives.
        shapes: of every operator's value that is stored, [B, ...], by name.
    """

    batch: int
    launches: tuple[Launch, ...]
    image: Value
    offsets: dict[str, int]
    arena_bytes: int
    outputs: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]


def lower_cuda(
    qm: QuantizedModel, arch: str, batch: int = 1, records: CudaRecords | None = None, seen: Seen | None = None
) -> CudaLowered:
    """Lower an integer network for a GPU architecture and a batch.

    Args:
        records: sizes of the kernels; the shipped ones where None.
        seen: called after each pass with its name and the context, in which the groups are.

    Raises:
        UnsupportedError: an operator has no kernel.
    """
    context = CudaContext.of(qm, arch, batch, records or CudaRecords(arch))
    for joins in PASSES:
        context.groups = joins(context)
        if seen is not None:
            seen(joins.__name__, context)
    image = Value("image", 1, batch * qm.input.channels * qm.input.height * qm.input.width, "uint8")
    found = [launch for group in context.groups for launch in _launches(group.root, context)]
    names, sizes = shared_names(qm.tensors), {v.name: v.bytes for v in (image, *context.values.values())}
    launches = _with_copies([_finished(launch, names, sizes) for launch in found], qm.outputs, context)
    written_over = {launch.over for launch in launches}
    outputs = tuple(_kept(name) if name in written_over else name for name in qm.outputs)
    _check_overwritten(launches)
    arena = _plan(image, launches, outputs)
    kept = {op.name for op in qm.ops}
    shapes = {name: (batch, *context.shapes[name]) for name in context.values if name in kept}
    return CudaLowered(batch, launches, image, arena.offsets, arena.size, outputs, shapes)


def _launches(op: QOp, c: CudaContext) -> list[Launch]:
    """Launches of an operator; its values are added to the context."""
    rule = RULES.get(type(op))
    if rule is None:
        raise UnsupportedError("there is no CUDA kernel for this operator", where=f"{op.name} ({type(op).__name__})")
    return rule(op, c)


def _finished(launch: Launch, names: Mapping[str, str], sizes: Mapping[str, int]) -> Launch:
    """The launch with constants that other operators have too taken from where they are stored, and what it reads."""
    params = {buffer: renamed(recipe, names) for buffer, recipe in launch.params.items()}
    return replace(launch, params=params, read_bytes=sum(sizes[name] for name in launch.reads.values()))


def _kept(name: str) -> str:
    """What an output's copy is called."""
    return f"{name}.kept"


def _with_copies(launches: Sequence[Launch], outputs: Sequence[str], c: CudaContext) -> tuple[Launch, ...]:
    """The launches, with outputs copied before a residual sum is written over them."""
    found: list[Launch] = []
    for launch in launches:
        if launch.over is not None and launch.over in outputs:
            value = c.values[launch.over]
            key, build = f"copy_r{value.rows}_c{value.channels}", builder(build_copy, value.rows, value.channels)
            kept = replace(value, name=_kept(value.name))
            found.append(Launch(key, build, {"x": value.name}, {}, ("out", kept), read_bytes=value.bytes))
        found.append(launch)
    return tuple(found)


def _check_overwritten(launches: tuple[Launch, ...]) -> None:
    """Refuse a network that reads a value after another was written over it."""
    gone: set[str] = set()
    for launch in launches:
        lost = gone & set(launch.reads.values())
        if lost:
            raise UnsupportedError("this value is needed after the residual sum over it", where=lost.pop())
        if launch.over is not None:
            gone.add(launch.over)


def _plan(image: Value, launches: tuple[Launch, ...], outputs: Sequence[str]) -> Arena:
    """Where values lie; what writes in place finds its input there, and outputs are there at the end."""
    steps = [Step(image.name, (), image.bytes)]
    for launch in launches:
        over = () if launch.over is None else (launch.over,)
        value = launch.out[1]
        steps.append(Step(value.name, (*launch.reads.values(), *over), value.bytes, launch.over))
        kept = (*launch.reads.values(), value.name, *(more.name for _, more in launch.also))
        for _, more in launch.also:  # blocks still read what the launch reads while the last ones write these
            steps.append(Step(more.name, kept, more.bytes))
    arena = plan_memory([*steps, Step("the end", tuple(outputs), 0)])
    apart = [x.over for x in launches if x.over is not None and arena.offsets[x.over] != arena.offsets[x.out[1].name]]
    if apart:
        raise AssertionError(f"{apart[0]} is not written over in its place")
    return arena
