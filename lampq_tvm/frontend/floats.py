"""What no rule covers stays what it is: a node of torch's own, between the operators that are recognized.

A node that its rule refuses is tried again on what its inputs are in float, since it may be these that cannot be read (an
activation function behind a convolution), and becomes a `FloatNode` where that does not help. What it reads becomes one too
where it was only on its way to an operator (scores that never reached their softmax). `frontend.cones` joins nodes to parts.

Nodes are written down for any number of images: what depends on it, in the sizes that views are given, is found by the axis
along which the images lie.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.frontend.abstract import Elements
from lampq_tvm.frontend.float_node import FloatNode
from lampq_tvm.frontend.graph import module_path, operator
from lampq_tvm.frontend.products import is_product, product
from lampq_tvm.frontend.refusals import words
from lampq_tvm.frontend.rules.movement import CASTS, MOVES, SAME
from lampq_tvm.frontend.trace import Base, Trace
from lampq_tvm.network.op import IMAGE
from lampq_tvm.network.operators.float_part import ITEM, Node

VIEWS = ("view", "reshape", "_unsafe_view")
MADE = ("new_zeros", "new_ones", "new_full", "new_empty")
IGNORED = ("memory_format", "pin_memory", "layout", "device", "non_blocking")


class Floats:
    """The float nodes of a trace.

    Args:
        trace: recognition in progress.
        values: abstract values and constants by node; constants stay there.
    """

    def __init__(self, trace: Trace, values: Mapping[fx.Node, Any]) -> None:
        self.trace, self.values = trace, values
        self.settled: dict[fx.Node, Base] = {}
        self.made: dict[fx.Node, str] = {}
        # Values for one image more than the graph has, without their contents.
        self.others: dict[str, Any] = {IMAGE: torch.empty((trace.batch + 1, *trace.image.shape[1:]), device="meta")}

    def settle(self, node: fx.Node, value: Any) -> None:
        """Remember the operator whose whole value, in order, a node's value is, if it is one's."""
        base = self._whole(value) if isinstance(value, Elements) else None
        if base is not None and (not isinstance(base.op, FloatNode) or base.shape[-1] == value.shape[-1]):
            self.settled[node] = base

    def _whole(self, x: Elements) -> Base | None:
        ids = x.ids.reshape(-1)
        base = self.trace.base_of(ids[:1])
        if base is None or not x.plain or (base.op is None and base is not self.trace.image):
            return None
        count = math.prod(base.shape)
        if len(ids) != count or int(ids[-1]) != base.start + count - 1:
            return None
        return base if torch.equal(ids, base.elements.ids.reshape(-1)) else None

    def instead(self, node: fx.Node, by_rule: Callable[[Mapping[fx.Node, Any]], Any]) -> Any:
        """The value of a node that its rule refused: by the rule from inputs in float, one or all, else in float itself."""
        unread = [n for n in node.all_input_nodes if n in self.trace.graph.computed and self._settled(n) is None]
        for tried in [*([n] for n in unread if len(unread) > 1), *([unread] if unread else [])]:
            values = {**self.values, **{n: self.value(n) for n in tried}}
            before = self.trace.saved()
            try:
                return by_rule(values)
            except UnsupportedError:
                self.trace.restore(before)
        return self.value(node)

    def _settled(self, node: fx.Node) -> Base | None:
        base = self.settled.get(node)
        return base if base is not None and base.alive else None

    def value(self, node: fx.Node) -> Any:
        """A node's value in float: elements of an operator's output; a list of them where it has several."""
        shape = node.meta["val"]
        if not isinstance(shape, (Tensor, list, tuple)):
            self.trace.refuse("a number that depends on the image")
        name = self.reference(node)
        if isinstance(shape, (list, tuple)):
            return [self._item(name, i, each) for i, each in enumerate(shape)]
        base = self._settled(node)
        return self._elements(name, shape) if base is None else base.elements.moved(lambda t: t.reshape(shape.shape))

    def _item(self, name: str, i: int, value: Any) -> Any:
        """One of several values; None where it is empty, as statistics are outside of training."""
        if not isinstance(value, Tensor) or value.numel() == 0:
            return None
        return self._elements(self._emit(ITEM, [{"value": 0}, i], name, self._shape(value)), value)

    def output(self, node: fx.Node) -> Base:
        """A node's value in float, as the network gives it."""
        return self._base(self.reference(node))

    def shaped(self, base: Base, node: fx.Node) -> Base:
        """An operator's value in the shape that it has in the graph, the images first."""
        shape = self._shape(node.meta["val"])
        return base if tuple(base.shape) == shape else self._base(self._view(base.name, base.shape, shape))

    def reference(self, node: fx.Node) -> str:
        """Name of an operator that gives a node's value in the node's own shape, made where there is none."""
        if (source := self._same(node)) is not None:
            return self.reference(source)
        base = self._settled(node) or self._product(node)
        if base is not None:
            shape = self._shape(node.meta["val"])
            return base.name if shape == tuple(base.shape) else self._view(base.name, base.shape, shape)
        if node not in self.made:
            self.made[node] = self._make(node)
        return self.made[node]

    def _same(self, node: fx.Node) -> fx.Node | None:
        """The node whose value a node only passes on."""
        source = node.args[0] if operator(node) in SAME | CASTS and node.args else None
        if not isinstance(source, fx.Node) or source not in self.trace.graph.computed:
            return None
        values = [each.meta["val"] for each in (source, node)]
        tensors = all(isinstance(value, Tensor) for value in values)
        return source if tensors and len({(tuple(value.shape), value.dtype) for value in values}) == 1 else None

    def _product(self, node: fx.Node) -> Base | None:
        """The product that a node is, tried once."""
        if node in self.made or not is_product(node):
            return None
        self._read_inputs(node)
        before, kept = self.trace.saved(), (dict(self.others), dict(self.made), dict(self.settled))
        base = None
        with contextlib.suppress(UnsupportedError):
            base = product(self, node)
        if base is None:
            self.trace.restore(before)
            self.others, self.made, self.settled = kept
        else:
            self.settled[node] = base
        return base

    def _read_inputs(self, node: fx.Node) -> None:
        """Make what a node reads, which stays where a first try of the node itself is taken back."""
        for each in node.all_input_nodes:
            if each in self.trace.graph.computed:
                self.reference(each)

    def _shape(self, value: Any) -> tuple[int, ...]:
        """A value's shape with the graph's number of images."""
        return tuple(int(n) if isinstance(n, int) else self.trace.batch for n in value.shape)

    def _elements(self, name: str, value: Any) -> Elements:
        """Elements of a float node's output, in the shape that it has there; its operator has images first."""
        shape = self._shape(value)
        axis, _ = self._images(shape, name)
        ahead = (shape[axis], *shape[:axis], *shape[axis + 1 :])
        found: Elements = self._ahead(name, shape).elements.moved(lambda t: t.reshape(ahead).movedim(0, axis))
        return found

    def images_first(self, node: fx.Node) -> Base | None:
        """A node's value with the images along its first axis, alone; None where they lie along another one."""
        name, shape = self.reference(node), self._shape(node.meta["val"])
        axis, _ = self._images(shape, name)
        return None if axis else self._ahead(name, shape)

    def _ahead(self, name: str, shape: tuple[int, ...]) -> Base:
        axis, times = self._images(shape, name)
        ahead = (shape[axis], *shape[:axis], *shape[axis + 1 :])
        if axis:
            name = self._emit("aten.movedim.int", [{"value": 0}, axis, 0], name, ahead)
        if times > 1:
            name = self._view(name, ahead, (self.trace.batch, times, *ahead[1:]))
        return self._base(name)

    def apply(self, target: str, base: Base, *args: Any) -> Base:
        """An operator that keeps the shape, on one value."""
        node = Node(target, ({"value": 0}, *args))
        return self._base(self._add(f"{base.name}.{node.operator}", (base.name,), node, {}, tuple(base.shape)))

    def _base(self, name: str) -> Base:
        return next(base for base in reversed(self.trace.bases) if base.alive and base.name == name)

    def _images(self, shape: tuple[int, ...], name: str) -> tuple[int, int]:
        """The axis of a value along which the images lie, and how many entries each has there."""
        other = tuple(self._other(name).shape)
        if len(other) != len(shape):
            self.trace.refuse("a shape that depends on the number of images")
        axes = [i for i, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b]
        if len(axes) != 1:
            self.trace.refuse("mixing the images of a batch")
        return axes[0], other[axes[0]] - shape[axes[0]]

    def _other(self, name: str) -> Any:
        """The output of an operator for one image more than the graph has, as a tensor without contents."""
        if name not in self.others:
            self.others[name] = torch.empty((self.trace.batch + 1, *self._base(name).shape[1:]), device="meta")
        return self.others[name]

    def _view(self, name: str, before: tuple[int, ...], after: tuple[int, ...]) -> str:
        sizes = self._sizes(list(after), before, self._other(name).shape, after)
        return self._emit("aten.reshape.default", [{"value": 0}, sizes], name, after)

    def _emit(self, target: str, args: list[Any], name: str, shape: tuple[int, ...]) -> str:
        """A float node that costs nothing, on one value; the same one is made once."""
        node = Node(target, tuple(args))
        for op in self.trace.ops:
            if isinstance(op, FloatNode) and op.inputs == (name,) and op.node == node:
                return op.name
        return self._add(f"{name}.{node.operator}", (name,), node, {}, shape)

    def _add(self, name: str, inputs: tuple[str, ...], node: Node, constants: dict[str, Tensor], shape: Any) -> str:
        """Append a float node; shape: of its output, None for several."""
        images = self.trace.batch + 1
        given = {field: torch.empty_like(tensor, device="meta") for field, tensor in constants.items()}
        try:
            other = node([self._other(each) for each in inputs], given, images)
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError):
            self.trace.refuse(f"operator {node.operator} for any number of images")
        free = node.operator in MOVES | SAME | CASTS | {ITEM, "movedim"} or shape is None or not other.is_floating_point()
        if shape is not None and other.ndim != len(shape):
            self.trace.refuse(f"operator {node.operator} for any number of images")
        axes = [] if shape is None else [i for i, (a, b) in enumerate(zip(shape, other.shape, strict=True)) if a != b]
        out = tuple({"images": other.shape[i] - n} if i in axes else n for i, n in enumerate(shape or ()))
        made = self.trace.emit(FloatNode(name, inputs, node, out, free), tuple(shape or ()), **constants)
        self.others[made.name] = other
        return made.name

    def _make(self, node: fx.Node) -> str:
        """The float node of a node of the graph, and of those that it reads: constants as they are, or for every image."""
        self._read_inputs(node)
        before = self.trace.saved()
        try:
            return self._made(node, repeated=False)
        except UnsupportedError:
            self.trace.restore(before)
            return self._made(node, repeated=True)

    def _made(self, node: fx.Node, repeated: bool) -> str:
        encoder = _Encoder(self, repeated)
        args, kwargs = encoder.encoded(list(node.args)), encoder.encoded(dict(node.kwargs))
        kwargs = {key: value for key, value in kwargs.items() if key not in IGNORED}
        value, name = node.meta["val"], operator(node)
        if name in VIEWS or name in MADE:
            shape = self._shape(value)
            first = next(n for n in node.all_input_nodes if n in self.trace.graph.computed)
            before, other = self._shape(first.meta["val"]), self._other(encoder.inputs[0]).shape
            args[1] = self._sizes(args[1] if isinstance(args[1], list) else args[1:], before, other, shape)
            del args[2:]
        elif name == "expand":
            was = self._shape(node.args[0].meta["val"])  # type: ignore[union-attr]
            args[1] = [-1 if i >= (off := len(args[1]) - len(was)) and was[i - off] == n else n for i, n in enumerate(args[1])]
        made = Node(self._target(node), tuple(args), kwargs)
        if made.target == "aten.squeeze.default":  # whatever has length one there, but never the images
            other = self._other(encoder.inputs[0]).shape
            made = Node("aten.squeeze.dims", (args[0], [i for i, n in enumerate(other) if n == 1]))
        if name == "to":  # whatever else it says
            made = Node("aten.to.dtype", (args[0], {"dtype": str(value.dtype).removeprefix("torch.")}))
        if name == "repeat":
            made = self._repeated(made, node, encoder.inputs[0])
        whole = None if isinstance(value, (list, tuple)) else self._shape(value)
        place = module_path(node) or "float"
        return self._add(f"{place}.{name}", tuple(encoder.inputs), made, encoder.constants, whole)

    def _repeated(self, made: Node, node: fx.Node, name: str) -> Node:
        """Copies of an image stay beside it: as a model that takes one image sees it."""
        x, times = made.args
        axis, _ = self._images(self._shape(node.args[0].meta["val"]), name)  # type: ignore[union-attr]
        axis += len(times) - node.args[0].meta["val"].ndim  # type: ignore[union-attr]
        if sum(n > 1 for n in times) == 1 and times[axis] > 1 and axis < node.args[0].meta["val"].ndim:  # type: ignore[union-attr]
            return Node("aten.repeat_interleave.self_int", (x, times[axis], axis))
        return made

    def _target(self, node: fx.Node) -> str:
        """The functional form of a node's operator, among torch's own."""
        if operator(node) == ITEM:
            return ITEM
        target = node.target
        if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
            self.trace.refuse(words(node))
        packet = target._schema.name.split("::")[-1]
        if packet in VIEWS and target._overloadname in ("", "default"):  # which asks nothing of how values lie in memory
            return "aten.reshape.default"
        functional = packet.removesuffix("_") if target._schema.is_mutable else packet
        return f"aten.{functional}.{target._overloadname or 'default'}"

    def _sizes(self, sizes: list[Any], before: Any, other: Any, after: tuple[int, ...]) -> list[Any]:
        """Sizes that a view is given, for any number of images: that of the axis which the images come to lie along."""
        axis = next((i for i, (a, b) in enumerate(zip(before, other, strict=False)) if a != b), None)
        if axis is None or len(before) != len(other):
            self.trace.refuse("a shape that depends on the number of images")
        images = self.trace.batch
        away = math.prod(before[axis:]) // images  # from one image to the next
        for i, size in enumerate(after):
            if sizes[i] != -1 and size % images == 0 and math.prod(after[i + 1 :]) * (size // images) == away:
                return [*sizes[:i], {"images": size // images}, *sizes[i + 1 :]]
        return sizes


class _Encoder:
    """Arguments of one node as JSON, and what they refer to."""

    def __init__(self, floats: Floats, repeated: bool) -> None:
        self.floats, self.repeated = floats, repeated
        self.inputs: list[str] = []
        self.constants: dict[str, Tensor] = {}

    def encoded(self, argument: Any) -> Any:
        """An argument."""
        if isinstance(argument, (list, tuple)):
            return [self.encoded(each) for each in argument]
        if isinstance(argument, dict):
            return {key: self.encoded(each) for key, each in argument.items()}
        if isinstance(argument, fx.Node):
            return self._node(argument)
        if isinstance(argument, torch.dtype):
            return {"dtype": str(argument).removeprefix("torch.")}
        if isinstance(argument, (torch.device, torch.layout, torch.memory_format)):
            return None
        return argument

    def _node(self, node: fx.Node) -> Any:
        if node in self.floats.trace.graph.computed:
            name = self.floats.reference(node)
            if name not in self.inputs:
                self.inputs.append(name)
            return {"value": self.inputs.index(name)}
        value = self.floats.values[node]
        return self._constant(value) if isinstance(value, Tensor) else self.encoded(value)

    def _constant(self, value: Tensor) -> dict[str, Any]:
        """A tensor; where constants are repeated, one that is the same for every image of the graph is kept for one."""
        images, field = self.floats.trace.batch, f"c{len(self.constants)}"
        each = len(value) // images if value.ndim > 1 and len(value) % images == 0 else 0
        if self.repeated and each and torch.equal(value, value[:each].repeat(images, *[1] * (value.ndim - 1))):
            self.constants[field] = value[:each]
            return {"constant": field, "images": 1}
        self.constants[field] = value
        return {"constant": field}
