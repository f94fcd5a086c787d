"""Artifacts of the right digest whose meaning is hostile or newer: refused before anything of them is loaded."""

from __future__ import annotations

import copy
import json
import os
import struct

import pytest

from lampq_tvm.artifact import elf
from lampq_tvm.artifact.container import MAGIC, pack, read_artifact, unpack
from lampq_tvm.artifact.manifest import check_manifest
from lampq_tvm.errors import CorruptError, LampqError, UnsupportedError
from lampq_tvm.runtime import Runner
from tests.boards import runs_here, target_of
from tests.compiler.networks import artifact, images, quantized
from tests.runtime.cuda.artifact import small_artifact

HOST = next((isa for isa in ("vbmi", "vnni", "avx2") if runs_here(isa)), None)
pytestmark = pytest.mark.skipif(HOST is None, reason="no x86 level to run here")
ADDED = ("schema", "sections")


@pytest.fixture(scope="module")
def compiled():
    return artifact(quantized("one block", "4/4"), target_of(HOST), 3)


def packed(made, manifest=None, sections=None):
    head = {k: v for k, v in (manifest or made.manifest).items() if k not in ADDED}
    return pack(sections or made.sections, head)


def judged(raw):
    """As `read_artifact`, of bytes."""
    found = unpack(raw, "x")
    check_manifest(found.manifest, found.sections, "x", "again")
    return found


def changed(manifest, path, value):
    """A manifest with one value replaced, or taken out where it is `...`."""
    made = copy.deepcopy(manifest)
    *way, last = path
    place = made
    for key in way:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return made


def test_what_is_compiled_passes(compiled):
    judged(packed(compiled))
    judged(packed(small_artifact()))


BAD = {
    "batch 0": (("batch",), 0),
    "batch -1": (("batch",), -1),
    "batch true": (("batch",), True),
    "batch of text": (("batch",), "3"),
    "a batch of its own": (("batch",), 2),
    "a huge batch": (("batch",), 1 << 40),
    "a huge image": (("input", "height"), 1 << 40),
    "many channels": (("input", "channels"), 4096),
    "no deviation": (("input", "std"), [0.0, 0.1, 0.1]),
    "two channels": (("input", "mean"), [0.5, 0.5]),
    "no input": (("input",), ...),
    "no params": (("params",), ...),
    "no values": (("values",), []),
    "no layers": (("layers",), ...),
    "layers": (("layers",), {"a": 1}),
    "a width": (("layers", 0, "w_bits"), 1 << 70),
    "a value's size": (("values", 0, "shape"), [3, 1 << 30, 1 << 30]),
    "a negative size": (("values", 0, "shape"), [3, -1, 4]),
    "a path": (("float_model",), "../../../../etc/passwd"),
    "a target": (("target",), "x" * 1000),
    "code of another machine": (("arch",), "aarch64"),
    "a GPU's": (("arch",), "cuda"),
    "a tensor that is not there": (("params", 0, "tensor"), "none"),
    "too many lanes": (("params", 0, "lanes"), 7),
    "too much padding": (("params", 0, "padded"), [1 << 20, 1 << 20]),
    "another shape": (("params", 0, "shape"), [1, 1]),
    "another width": (("params", 0, "bits"), 8),
    "a list of words": (("features",), "avx2"),
    "a quantizer without a name": (("quantizers", "head", "input", "name"), ...),
    "a quantizer's parameter": (("quantizers", "head", "input", "scale"), [0.5]),
    "a quantizer's parameter that is none": (("quantizers", "head", "input", "bits"), True),
    "a quantizer's name with words": (("quantizers", "head", "input", "name"), "uniform\x1b[2J"),
    "quantizers": (("quantizers",), ["uniform"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_manifest_that_makes_no_sense_is_corrupt(compiled, case):
    with pytest.raises(CorruptError) as error:
        judged(packed(compiled, changed(compiled.manifest, *BAD[case])))
    assert len(str(error.value)) < 500


def test_an_artifact_that_tells_no_quantizers_is_read(compiled):
    """As those made before manifests did."""
    before = judged(packed(compiled, changed(compiled.manifest, ("quantizers",), ...)))
    pixels = images("one block", 3)
    with Runner(before) as old, Runner(compiled) as new:
        assert old(pixels).tobytes() == new(pixels).tobytes()


NEWER = {
    "a field": (("more",), 1),
    "a field of the image": (("input", "rotation"), 1),
    "a recipe": (("params", 0, "from"), "magic"),
}


@pytest.mark.parametrize("case", NEWER)
def test_what_this_version_does_not_know_is_unsupported(compiled, case):
    with pytest.raises(UnsupportedError, match="does not know; update lampq"):
        judged(packed(compiled, changed(compiled.manifest, *NEWER[case])))


def test_a_newer_container_or_schema_is_called_newer(compiled):
    raw = packed(compiled)
    with pytest.raises(UnsupportedError, match="newer lampq: an artifact of schema 2"):
        unpack(raw.replace(MAGIC, b"LAMPQ 2\n", 1), "x")
    cut = raw[:-1]
    with pytest.raises(CorruptError):
        unpack(cut.replace(MAGIC, b"LAMPQ 2\n", 1), "x")


@pytest.mark.parametrize("name", ["lib.so", "payload.safetensors", "plan.json"])
def test_a_missing_or_added_section_is_corrupt(compiled, name):
    for sections in ({k: v for k, v in compiled.sections.items() if k != name}, {**compiled.sections, "more": b""}):
        with pytest.raises(CorruptError, match="its sections are"):
            judged(packed(compiled, sections=sections))


def test_recipes_that_ask_for_more_than_the_payload_holds_are_refused(compiled):
    at = next(i for i, r in enumerate(compiled.manifest["params"]) if r["from"] == "array")
    recipe = {**compiled.manifest["params"][at], "times": 1 << 16}
    many = changed(compiled.manifest, ("params",), [*compiled.manifest["params"], *[recipe] * 200])
    with pytest.raises(CorruptError, match="its constants take"):
        judged(packed(compiled, many))


def test_a_payload_of_other_tensors_is_refused(compiled):
    payload = compiled.sections["payload.safetensors"]
    size = int.from_bytes(payload[:8], "little")
    head = json.loads(payload[8 : 8 + size])
    first, second = list(head)[:2]
    cases = {
        "overlap": {**head, first: {**head[first], "data_offsets": head[second]["data_offsets"]}},
        "dtype": {**head, first: {**head[first], "dtype": "F8_E4M3"}},
        "shape": {**head, first: {**head[first], "shape": [1 << 30, 1 << 30]}},
        "deep": "deep",
    }
    for case, rows in cases.items():
        text = b"[" * 100000 if case == "deep" else json.dumps(rows).encode()
        forged = len(text).to_bytes(8, "little") + text + payload[8 + size :]
        with pytest.raises(CorruptError):
            judged(packed(compiled, sections={**compiled.sections, "payload.safetensors": forged}))


def library(compiled, at, form, value):
    raw = bytearray(compiled.sections["lib.so"])
    struct.pack_into(form, raw, at, value)
    return bytes(raw)


def test_a_library_whose_outside_lies_is_not_loaded(compiled):
    raw = compiled.sections["lib.so"]
    elf.check_library(raw, "x86")
    start = struct.unpack_from("<Q", raw, 32)[0]
    forged = {
        "no library": b"#!/bin/sh\n",
        "cut": raw[: len(raw) // 2],
        "cut in a page": raw[:-5000],
        "machine": library(compiled, 18, "<H", 183),
        "kind": library(compiled, 16, "<H", 2),
        "headers": library(compiled, 32, "<Q", len(raw)),
        "count": library(compiled, 56, "<H", 65000),
        "segment": library(compiled, start + 56 + 8, "<Q", 1 << 40),
        "memory": library(compiled, start + 56 * 3 + 40, "<Q", 1 << 44),
        "align": library(compiled, start + 48, "<Q", 3),
    }
    for case, lib in forged.items():
        with pytest.raises(CorruptError):
            judged(packed(compiled, sections={**compiled.sections, "lib.so": lib}))
            pytest.fail(case)


MISMATCHED = {
    "one constant less": lambda m: m["params"].pop(),
    "constants in another order": lambda m: m["params"].reverse(),
    "one value less": lambda m: m["values"].pop(),
    "a value of another shape": lambda m: m["values"][1].update(shape=[3, 1]),
    "an image of another size": lambda m: m["input"].update(height=24),
    "another layout": lambda m: m["params"][0].update(lanes=m["params"][0]["lanes"] // 2),
}


@pytest.mark.parametrize("case", MISMATCHED)
def test_code_that_is_not_what_its_manifest_says_gives_one_line(compiled, case):
    manifest = copy.deepcopy(compiled.manifest)
    MISMATCHED[case](manifest)
    made = judged(packed(compiled, manifest))
    pixels = images("one block", 3)[:, :, : manifest["input"]["height"]]
    height = manifest["input"]["height"]
    pixels = pixels if height == pixels.shape[2] else pixels.repeat(2, 2)[:, :, :height]
    with pytest.raises(CorruptError, match="does not match its manifest"):
        runner = Runner(made)
        runner(pixels)
        runner.trace(pixels)


CUDA = {
    "an arena of a terabyte": (("cuda", "buckets", 0, "arena_bytes"), 1 << 40),
    "an arena that nothing needs": (("cuda", "buckets", 0, "arena_bytes"), 60 << 30),
    "no kernels": (("cuda", "kernels"), []),
    "a kernel outside": (("cuda", "kernels", 0, "offset"), 1 << 30),
    "a kernel that is none": (("cuda", "kernels", 0, "offset"), 1),
    "no plan": (("cuda",), ...),
    "a huge bucket": (("cuda", "buckets", 0, "batch"), 1 << 60),
}


@pytest.mark.parametrize("case", CUDA)
def test_a_gpu_plan_that_makes_no_sense_is_corrupt(case):
    made = small_artifact()
    with pytest.raises(CorruptError):
        judged(packed(made, changed(made.manifest, *CUDA[case])))


@pytest.mark.timeout(20)
def test_a_pipe_is_no_artifact(tmp_path):
    os.mkfifo(tmp_path / "a.lampq")
    with pytest.raises(LampqError, match="pipe"):
        read_artifact(tmp_path / "a.lampq")
