"""What is joined into one kernel on a GPU: named passes, in order, each seen by itself."""

from __future__ import annotations

import dataclasses

import pytest

from lampq_tvm.kinds import Encode, Kind
from lampq_tvm.lower.cuda.groups import Group, joined
from lampq_tvm.lower.cuda.network import lower_cuda
from lampq_tvm.lower.cuda.passes import PASSES
from lampq_tvm.quantize.model import QLayerNorm, QProduct, QRegroup, QRotary, QuantizedModel
from tests.compiler.networks import FAMILIES, quantized
from tests.lower.networks import one_block

POST = ("QProduct", "QFloatNorm", "QAdd")  # of a branch, and the sum with its stream
NAMES = ["gather", "turn", "norm_before", "norm_after", "post_norm", "gate_codes"]


def groups_after(qm: QuantizedModel, batch: int = 1) -> dict[str, tuple[Group, ...]]:
    """Groups after every pass, by its name; before them under the name ``."""
    found = {"": tuple(Group(op) for op in qm.ops)}
    lower_cuda(qm, "sm_87", batch, seen=lambda name, context: found.setdefault(name, context.groups))
    return found


def made_by(found: dict[str, tuple[Group, ...]], name: str) -> set[tuple[str, ...]]:
    """What a pass joined: classes of the operators of the groups that it changed, in front of the root, root, and behind."""
    order = list(found)
    before = found[order[order.index(name) - 1]]
    return {tuple(type(op).__name__ for op in group.ops) for group in found[name] if group not in before}


def test_passes_are_listed_in_order_and_each_is_a_file():
    assert [each.__name__ for each in PASSES] == NAMES
    assert [each.__module__.rpartition(".")[2] for each in PASSES] == NAMES
    assert all(each.__doc__ for each in PASSES)
    assert list(groups_after(one_block(64, 4, 2))) == ["", *NAMES]


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("family", FAMILIES)
def test_passes_lose_no_operator_and_keep_the_order_of_kernels(family, batch):
    qm = quantized(family, "mixed")
    for groups in groups_after(qm, batch).values():
        assert sorted(op.name for group in groups for op in group.ops) == sorted(op.name for op in qm.ops)
        roots = [group.root.name for group in groups]
        assert roots == [op.name for op in qm.ops if op.name in roots]


@pytest.mark.parametrize(
    ("family", "batch", "name", "made"),
    [
        ("swin", 1, "gather", {("QRegroup", "QProduct")}),
        ("eva02", 1, "turn", {("QProduct", "QRotary")}),
        ("vit", 1, "norm_before", {("QLayerNorm", "QProduct")}),
        ("swin", 1, "norm_before", {("QLayerNorm", "QRegroup", "QProduct"), ("QLayerNorm", "QProduct")}),
        ("vit", 32, "norm_after", {("QProduct", "QLayerNorm")}),
        ("swinv2", 32, "post_norm", {POST, (*POST, "QToCodes"), ("QRegroup", *POST, "QToCodes")}),
        ("eva02", 1, "gate_codes", {("QGate", "QToCodes")}),
        ("vit", 1, "turn", set()),
        ("vit", 1, "gate_codes", set()),
    ],
)
def test_what_each_pass_joins(family, batch, name, made):
    found = made_by(groups_after(quantized(family, "mixed"), batch), name)
    bare = {tuple(kind for kind in kinds if kind != "QRegroup") for kinds in found} if name == "norm_after" else found
    assert bare == made


def test_a_norm_of_many_rows_is_made_by_the_product_before_it():
    """Of one image both blocks' norms are made in front of products; of 32 that of the class tokens alone is."""
    few, many = (
        {op.name for group in groups_after(quantized("vit", "mixed"), batch)["norm_before"] for op in group.before}
        for batch in (1, 32)
    )
    assert many < few and "blocks.1.norm1" in few - many and len(many) == 1


def test_a_product_may_make_a_norm_on_either_side():
    """Joining keeps what was joined before: in front of the first, behind the last."""
    first, second = QLayerNorm("n1", ("x",), 1e-6, 8), QLayerNorm("n2", ("p",), 1e-6, 8)
    order, product = QRegroup("r", ("n1",), 4), QProduct("p", ("r", "x"), "residual", 8, 8, 8)
    groups = tuple(Group(op) for op in (first, order, product, second))
    groups = joined(groups, "p", before=(order,))
    groups = joined(groups, "p", before=(first,))
    (group,) = joined(groups, "p", after=(second,))
    assert group == Group(product, (first, order), (second,)) and group.ops == (first, order, product, second)
    assert (group.in_front(QLayerNorm), group.behind(QLayerNorm), group.behind(QRegroup)) == (first, second, None)


def test_codes_that_are_looked_up_are_not_turned_by_their_product():
    """Its kernel has no table; the rotation's own has one."""
    qm = quantized("eva02", "8/8")
    encode = Encode(Kind.INT8, Kind.INT8)
    ops = [dataclasses.replace(op, encode=encode) if isinstance(op, QRotary) else op for op in qm.ops]
    tabled = dataclasses.replace(qm, ops=tuple(ops))
    assert made_by(groups_after(qm), "turn") and not made_by(groups_after(tabled), "turn")
    launches = [launch for launch in lower_cuda(tabled, "sm_87").launches if launch.kernel.startswith("rotary")]
    assert launches and all(launch.kernel.endswith("_table") and "table" in launch.params for launch in launches)
