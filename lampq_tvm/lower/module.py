"""The integer network as a Relax module: functions `main`, `trace` and `pixels` that call the kernels.

    main(image, *params)    [B, C, H, W] uint8 to the output float32
    trace(image, *params)   the same, and every operator's value
    pixels(x, scale, shift) normalized float32 image to uint8

`main` allocates one arena, in which every value has its place, and the output. `trace` keeps every value in its own memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.ir import Expr, GlobalVar, IRModule
from tvm.tirx import Buffer, PrimFunc

from lampq_tvm.kernels.builders import BUILDING
from lampq_tvm.kernels.image import build_pixels
from lampq_tvm.kernels.tiles import Tiles
from lampq_tvm.kernels.tunable import Kernel
from lampq_tvm.lower.context import Context, TilesFor
from lampq_tvm.lower.kernel import Call, Recipe
from lampq_tvm.lower.memory import Arena, plan_memory
from lampq_tvm.lower.operators import RULES
from lampq_tvm.lower.shared import shared_names, with_shared
from lampq_tvm.lower.tensors import Tensors
from lampq_tvm.network.model import canonical_json
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.quantize.op import QOp


@dataclass(frozen=True)
class Value:
    """A value that `trace` returns: operator name, shape [B, ...] and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Lowered:
    """A lowered network.

    Attributes:
        module: the Relax module.
        recipes: how the runtime makes the parameters, in order.
        calls: every kernel call, in order.
        values: what `trace` returns, in order.
        arena_bytes: working memory of `main`, without image, parameters and output.
    """

    module: IRModule
    recipes: tuple[Recipe, ...]
    calls: tuple[Call, ...]
    values: tuple[Value, ...]
    arena_bytes: int

    @property
    def stored(self) -> dict[str, np.ndarray]:
        """Arrays that the payload holds beside the network's."""
        return {name: array for call in self.calls for name, array in call.stored.items()}

    @property
    def largest_activation_bytes(self) -> int:
        """Size of the largest value that a call writes."""
        return max(call.step.size for call in self.calls)


def default_schedules(kernel: Kernel) -> Tiles | None:
    """No tuned sizes: every kernel takes the default ones."""
    return None


def lower(qm: QuantizedModel, isa: str, batch: int = 1, tiles: TilesFor = default_schedules) -> Lowered:
    """Lower an integer network for an instruction set level and a batch.

    Raises:
        UnsupportedError: an operator has no kernel.
    """
    calls, context = lower_calls(qm, isa, batch, tiles)
    calls = with_shared(calls, shared_names(qm.tensors))
    values = tuple(Value(op.name, (batch, *context.shapes[op.name]), _dtype(calls, op.name)) for op in qm.ops)
    functions = _kernels(calls)
    program = _Program(calls, functions)
    image = relax.TensorType((batch, qm.input.channels, qm.input.height, qm.input.width), "uint8")
    arena = plan_memory([call.step for call in calls], apart=qm.outputs)
    with BUILDING:
        builder = relax.BlockBuilder()
        kernels = {name: builder.add_func(function, name) for name, function in functions.items()}
        program.emit(builder, kernels, "main", image, list(qm.outputs), arena)
        program.emit(builder, kernels, "trace", image, [value.name for value in values], Arena(0, {}))
        _emit_pixels(builder, image, isa)
    return Lowered(builder.finalize(), tuple(program.recipes), tuple(calls), values, arena.size)


def lower_calls(qm: QuantizedModel, isa: str, batch: int, tiles: TilesFor) -> tuple[list[Call], Context]:
    """Every kernel call in order, nothing built yet, and what is known of the values.

    Raises:
        UnsupportedError: an operator has no kernel.
    """
    context = Context.of(qm, isa, batch, tiles)
    return [call for op in qm.ops for call in _calls(op, context)], context


def _calls(op: QOp, c: Context) -> list[Call]:
    return op.rule(RULES, "there is no kernel for this operator")(op, c)


def _dtype(calls: list[Call], value: str) -> str:
    return next(call.dtype for call in calls if call.value == value)


def _kernels(calls: list[Call]) -> dict[str, PrimFunc]:
    builders = {call.kernel: call.build for call in calls}
    return {name: build().with_attr("global_symbol", name) for name, build in builders.items()}


class _Program:
    """The calls with their constants numbered: equal recipes share one parameter."""

    def __init__(self, calls: list[Call], functions: dict[str, PrimFunc]) -> None:
        self.calls = calls
        self.recipes: list[Recipe] = []
        self.types: list[relax.TensorType] = []
        self.numbers: dict[str, int] = {}
        self.shapes = {k: [tuple(int(n) for n in p.shape) for p in f.params] for k, f in functions.items()}
        for call in calls:
            function = functions[call.kernel]
            for position, argument in enumerate(call.order):
                if isinstance(argument, int):
                    self._number(call.recipes[argument], function.params[position])

    def _number(self, recipe: Recipe, buffer: Buffer) -> None:
        key = canonical_json(recipe)
        if key not in self.numbers:
            self.numbers[key] = len(self.recipes)
            self.recipes.append(recipe)
            self.types.append(relax.TensorType([int(extent) for extent in buffer.shape], str(buffer.dtype)))

    def emit(
        self,
        builder: relax.BlockBuilder,
        kernels: dict[str, GlobalVar],
        name: str,
        image: relax.TensorType,
        results: list[str],
        arena: Arena,
    ) -> None:
        """Add a function that runs the calls and returns the values `results`; those beside the arena get their own memory."""
        pixels = relax.Var("image", image)
        params = [relax.Var(f"p{i}", type_) for i, type_ in enumerate(self.types)]
        values: dict[str, Expr] = {"image": pixels}
        with builder.function(name, [pixels, *params], pure=False):
            tensors = Tensors(builder, arena)
            for call in self.calls:
                arguments = [
                    tensors.seen(a, values[a], self.shapes[call.kernel][i])
                    if isinstance(a, str)
                    else params[self.numbers[canonical_json(call.recipes[a])]]
                    for i, a in enumerate(call.order)
                ]
                values[call.value] = tensors.take(call.value, call.shape, call.dtype)
                builder.emit(relax.Call(kernels[call.kernel], [*arguments, values[call.value]]))
            builder.emit_func_output(values[results[0]] if len(results) == 1 else [values[r] for r in results])


def _emit_pixels(builder: relax.BlockBuilder, image: relax.TensorType, isa: str) -> None:
    batch, channels, height, width = shape = [int(extent) for extent in image.shape]
    name = "pixels_from_float"
    kernel = builder.add_func(build_pixels(batch, channels, height, width, isa).with_attr("global_symbol", name), name)
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    constants = [relax.Var(name, relax.TensorType([channels], "float32")) for name in ("scale", "shift")]
    with builder.function("pixels", [x, *constants], pure=False):
        out = Tensors(builder, Arena(0, {})).take("pixels", tuple(shape), "uint8")
        builder.emit(relax.Call(kernel, [x, *constants, out]))
        builder.emit_func_output(out)
