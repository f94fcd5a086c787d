"""What is live in front of an operator is enough to run on from there, and no value can be left out."""

import pytest
import torch

from lampq_tvm.network.between import block_starts, live_before
from lampq_tvm.network.execute import normalize, run_float, run_to
from tests.quantize.tiny import VARIANTS, tiny_images, tiny_model


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_place_to_any_other_equals_the_whole_run(variant):
    model = tiny_model(variant)
    images = normalize(tiny_images(3), model.input)
    whole = {"image": images}
    output = run_float(model, images, observe=lambda op, inputs, value: whole.__setitem__(op.name, value))
    stops = [*(op.name for op in model.ops), None]
    for i, start in enumerate(stops[:-1]):
        given = {name: whole[name] for name in live_before(model, start)}
        for stop in {*stops[i + 1 : i + 4], None}:
            wanted = live_before(model, stop)
            found = run_to(model, given, wanted)
            assert tuple(found) == wanted and all(torch.equal(found[name], whole[name]) for name in wanted), (start, stop)
    assert torch.equal(found[model.output], output)


def test_no_live_value_can_be_left_out():
    model = tiny_model()
    images = normalize(tiny_images(2), model.input)
    whole = {"image": images}
    run_float(model, images, observe=lambda op, inputs, value: whole.__setitem__(op.name, value))
    for op in model.ops[1:]:
        live = live_before(model, op.name)
        for missing in live:
            ran = []
            given = {name: whole[name] for name in live if name != missing} | {"image": images}
            run_to(model, given, (model.output,), observe=lambda op, inputs, value, ran=ran: ran.append(op.name))
            assert missing in ran


def test_blocks_start_where_the_stream_is_all_there_is():
    starts = block_starts(tiny_model())
    assert starts == (
        "patch", "blocks.0.norm1", "blocks.0.norm2", "blocks.1.norm1", "blocks.1.norm2", "norm", "take0", "head",
    )  # fmt: skip
    assert live_before(tiny_model(), "blocks.1.norm2") == ("blocks.1.add1",)
    assert live_before(tiny_model(), "blocks.1.fc1") == ("blocks.1.add1", "blocks.1.norm2")
    assert live_before(tiny_model(), "patch") == ("image",) and live_before(tiny_model(), None) == ("head",)
