"""The whole road of a tiny model by the command line, and what can be done with its artifact."""

import json

import numpy as np
import pytest

import lampq_tvm
from lampq_tvm import api
from lampq_tvm.api.options import Options
from lampq_tvm.api.pipeline import Pipeline
from lampq_tvm.calibrate.calibration import WIDTHS
from lampq_tvm.errors import CorruptError
from lampq_tvm.quantize.build import quantize
from tests.cli.conftest import FEW, MODEL, SHAPE

LAYER_KEYS = {"name", "type", "w_bits", "a_bits", "params"}


def last(found):
    """The JSON of a command's last line."""
    assert found.code == 0, found.err
    return json.loads(found.out.splitlines()[-1])


@pytest.fixture
def artifact(lampq, data, tmp_path):
    """The tiny model at 4 bits for this machine; after the first time it comes from the cache."""
    path = tmp_path / "a.lampq"
    found = last(lampq("compile", *MODEL, *FEW, "--data", data, "--budget", "4bit", "-o", path, "--json"))
    assert found == last(lampq("inspect", path, "--json"))
    return path


@pytest.fixture
def images(tmp_path):
    """Normalized images in a file, and the pixels they come from."""
    pixels = np.random.default_rng(1).integers(0, 256, (3, 1, 16, 16), np.uint8)
    np.save(tmp_path / "x.npy", ((pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.5)).astype(np.float32))
    return tmp_path / "x.npy", pixels


def test_inspect(lampq, artifact):
    found = last(lampq("inspect", artifact, "--json"))
    layers = found["layers"]
    assert set(found) == {
        "layers", "payload_bytes", "code_bytes", "size_bytes", "arena_bytes", "largest_activation_bytes", "avg_w_bits",
        "avg_a_bits", "target", "weights", "input", "classes", "batches", "parts", "macs",
    }  # fmt: skip
    assert found["parts"] == [] and found["macs"] is None
    assert 0 < found["largest_activation_bytes"] <= found["arena_bytes"] <= 2.5 * found["largest_activation_bytes"]
    assert all(set(row) == LAYER_KEYS for row in layers)
    assert found["target"] == "host" and found["weights"] == "random" and found["size_bytes"] == artifact.stat().st_size
    params = sum(row["params"] for row in layers)
    assert found["avg_w_bits"] == pytest.approx(sum(row["w_bits"] * row["params"] for row in layers) / params)
    assert found["avg_w_bits"] <= 4 and found["avg_a_bits"] <= 4
    assert {row["params"] for row in layers if row["type"] in ("scores", "values")} == {0}
    assert found["payload_bytes"] + found["code_bytes"] <= found["size_bytes"]
    assert "payload_bytes" in lampq("inspect", artifact).out


def rows(text):
    """Name -> value of a table's lines."""
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.split()[1:]}


def test_inspect_shows_the_image_it_takes(lampq, artifact):
    found = last(lampq("inspect", artifact, "--json"))
    assert found["input"] == {
        "channels": 1, "height": 16, "width": 16, "mean": [0.5], "std": [0.5], "interpolation": "bicubic", "crop_pct": 0.9,
    }  # fmt: skip
    assert found["classes"] == 4 and found["batches"] == [1]
    shown = rows(lampq("inspect", artifact).out)
    assert (shown["size"], shown["channels"], shown["mean"], shown["std"]) == ("16x16", "1", "0.5", "0.5")
    assert (shown["interpolation"], shown["crop-pct"], shown["classes"], shown["batches"]) == ("bicubic", "0.9", "4", "1")


def test_preprocessing_is_resolved_before_long_work(lampq, data, tmp_path, monkeypatch):
    monkeypatch.setattr("lampq_tvm.calibrate.fit.calibrate", lambda *a, **k: pytest.fail("long work began"))
    for verb in ("compile", "plan"):
        argv = (*MODEL[:-4], *FEW, "--data", data, "--budget", "1bit", "-o", tmp_path / "x")
        found = lampq(verb, *argv)
        shown = rows(found.err)
        assert found.code == 4, found.err
        assert (shown["size"], shown["channels"], shown["classes"]) == ("16x16", "1", "4")
        assert (shown["mean"], shown["std"]) == ("0.5", "0.5")


def test_few_or_black_calibration_images_are_told(lampq, data, tmp_path):
    def warnings(path, count):
        found = lampq("plan", *MODEL, "--calib-images", count, "--sens-images", 8, "--data", path, "-o", tmp_path / "p.json",
                      "--budget", "4bit")  # fmt: skip
        assert found.code == 0, found.err
        return [line for line in found.err.splitlines() if line.startswith("warning: ") and "random" not in line]

    for _ in range(2):  # also when calibration comes from the cache
        (line,) = warnings(data, 8)
        assert "8 different images" in line and "--calib-images" in line
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "many.npz", images=rng.integers(0, 256, (60, 16, 16), np.uint8), labels=np.arange(60) % 4)
    assert warnings(tmp_path / "many.npz", 40) == []
    np.savez(tmp_path / "black.npz", images=np.zeros((40, 16, 16), np.uint8), labels=np.arange(40) % 4)
    assert any("0..0" in line for line in warnings(tmp_path / "black.npz", 40))


def test_run_warns_of_images_that_were_not_normalized(lampq, artifact, images, tmp_path):
    right, pixels = images
    np.save(tmp_path / "raw.npy", pixels / np.float32(255))
    found = lampq("run", artifact, "--input", right, "--output", tmp_path / "y.npy")
    assert found.code == 0 and found.err == ""
    found = lampq("run", artifact, "--input", tmp_path / "raw.npy", "--output", tmp_path / "y.npy")
    assert found.code == 0 and len(found.err.splitlines()) == 1
    assert found.err.startswith("warning: ") and "not normalized" in found.err and "0.5" in found.err


def test_run_gives_the_reference_bit_for_bit(lampq, artifact, images, data, tmp_path):
    from lampq_tvm.quantize.reference import run_reference

    path, pixels = images
    sizes = dict(arg.split("=") for arg in MODEL if "=" in arg)
    options = {"model_args": {k: int(v) for k, v in sizes.items()}, "mean": (0.5,), "std": (0.5,)}
    request = Options(MODEL[0], data=data, budgets=("4bit",), calib_images=8, sens_images=8, **options)
    expected = np.asarray(run_reference(Pipeline(request).quantized, pixels))
    for repeat in ("1", "3"):
        assert lampq("run", artifact, "--input", path, "--output", tmp_path / "y.npy", "--repeat", repeat).code == 0
        logits = np.load(tmp_path / "y.npy")
        assert logits.dtype == np.float32
        np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(lampq_tvm.load(artifact)(pixels), expected)
    np.testing.assert_array_equal(lampq_tvm.load(artifact, threads=1)(np.load(path)), expected)


def test_eval_beside_the_float_model(lampq, artifact, data):
    found = last(lampq("eval", artifact, "--data", data, "--json"))
    assert set(found) == {"n", "top1", "fp32_top1", "agreement_fp32"} and found["n"] == 16
    assert all(0 <= found[k] <= 1 for k in ("top1", "fp32_top1", "agreement_fp32"))
    alone = last(lampq("eval", artifact, "--data", data, "--json", "--no-fp32", "--images", "5"))
    assert alone["n"] == 5 and alone["fp32_top1"] is None and alone["agreement_fp32"] is None
    assert "%" in lampq("eval", artifact, "--data", data).out


def test_bench(lampq, artifact):
    found = last(lampq("bench", artifact, "--repeat", "7", "--json"))
    assert set(found) - {"clocks"} == {"median_ms", "p95_ms", "n", "kind", "device", "peak_rss_bytes"}  # clocks where readable
    assert found["n"] == 7 and found["kind"] == "measured" and found["device"] == "local"
    assert 0 < found["median_ms"] <= found["p95_ms"] and found["peak_rss_bytes"] > 1 << 20


def test_the_same_request_gives_the_same_bytes(lampq, artifact, data, tmp_path, monkeypatch):
    again = ["compile", *MODEL, *FEW, "--data", data, "--budget", "4bit", "-o", tmp_path / "b.lampq"]
    assert lampq(*again, "--no-cache").code == 0
    assert (tmp_path / "b.lampq").read_bytes() == artifact.read_bytes()


def test_a_plan_in_between_gives_the_same_artifact(lampq, artifact, data, tmp_path):
    common = [*MODEL, *FEW, "--data", data]
    found = last(lampq("plan", *common, "--budget", "4bit", "-o", tmp_path / "p.json", "--json"))
    assert found["avg_w_bits"] <= 4
    assert lampq("compile", *common, "--plan", tmp_path / "p.json", "-o", tmp_path / "b.lampq").code == 0
    assert (tmp_path / "b.lampq").read_bytes() == artifact.read_bytes()


def test_any_flipped_byte_is_code_7(lampq, artifact, tmp_path):
    raw = artifact.read_bytes()
    for at in [*range(0, 120, 7), *np.linspace(0, len(raw) - 1, 40).astype(int)]:
        changed = bytearray(raw)
        changed[at] ^= 0x10
        (tmp_path / "c.lampq").write_bytes(changed)
        assert lampq("inspect", tmp_path / "c.lampq").code == 7
        with pytest.raises(CorruptError):
            lampq_tvm.load(tmp_path / "c.lampq")


BAD_INPUTS = {
    "missing": None,
    "text": b"hello",
    "pickle": np.array([{}], object),
    "float64": np.zeros((1, 1, 16, 16)),
    "uint8": np.zeros((1, 1, 16, 16), np.uint8),
    "shape": np.zeros((1, 1, 16, 15), np.float32),
    "rank": np.zeros((1, 16, 16), np.float32),
    "nan": np.full((1, 1, 16, 16), np.nan, np.float32),
    "empty": np.zeros((0, 1, 16, 16), np.float32),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_to_run(lampq, artifact, tmp_path, case):
    content, path = BAD_INPUTS[case], tmp_path / "x.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    found = lampq("run", artifact, "--input", path, "--output", tmp_path / "y.npy")
    assert found.code == 2 and "x.npy" in found.line and not (tmp_path / "y.npy").exists()


def test_output_of_run_cannot_be_written(lampq, artifact, images):
    assert lampq("run", artifact, "--input", images[0], "--output", "/proc/y.npy").code == 8


def test_bad_data_for_eval(lampq, artifact, tmp_path):
    assert lampq("eval", artifact, "--data", tmp_path / "none").code == 2


def test_an_artifact_for_another_target(lampq, data, images, tmp_path):
    path = tmp_path / "pi.lampq"
    assert lampq("compile", *MODEL, *FEW, "--data", data, "--target", "raspberry-pi-4", "-o", path).code == 0
    assert last(lampq("inspect", path, "--json"))["target"] == "raspberry-pi-4"
    for argv in (["run", path, "--input", images[0], "--output", tmp_path / "y.npy"], ["bench", path]):
        assert lampq(*argv).code == 3
    assert lampq("eval", path, "--data", data).code == 3
    assert not (tmp_path / "y.npy").exists()


def test_python_has_the_verbs_too(data, tmp_path):
    sizes = {k: int(v) for k, v in (arg.split("=") for arg in MODEL if "=" in arg)}
    common = {"model_args": sizes, "mean": (0.5,), "std": (0.5,), "data": data, "calib_images": 8, "sens_images": 8}
    made = lampq_tvm.compile(MODEL[0], output=tmp_path / "a.lampq", budgets=("4/8bit",), **common)
    found = lampq_tvm.inspect(made)
    assert found["avg_w_bits"] <= 4 and found["avg_a_bits"] == 8
    assert lampq_tvm.eval(made, data=data)["n"] == 16
    assert lampq_tvm.plan(MODEL[0], budgets=("3bit",), **common).avg_w_bits <= 3
    assert callable(api.tune) and callable(api.targets) and callable(lampq_tvm.measure)
    with pytest.raises(AttributeError):
        _ = lampq_tvm.nonsense


def test_no_gate_no_artifact(lampq, data, tmp_path, monkeypatch):
    import lampq_tvm.quantize.reference as reference

    right = reference.run_reference
    monkeypatch.setattr(reference, "run_reference", lambda *a, **k: np.nextafter(right(*a, **k), np.float32(9e9)))
    found = lampq("compile", *MODEL, *FEW, "--data", data, "--budget", "5bit", "--no-update", "-o", tmp_path / "a.lampq")
    assert found.code == 6 and "differ from the reference" in found.line and not (tmp_path / "a.lampq").exists()


def test_a_plan_of_eight_bits_is_calibrated_for_them_alone(data, tmp_path, monkeypatch):
    """The same network as from a calibration of all widths, which comes later, and is then what is used."""
    arguments = tuple(item.split("=") for item in SHAPE)
    request = Options(
        "vit_tiny_patch16_224", data=data, mean=(0.5,), std=(0.5,), calib_images=8, attention_bits=4,
        model_args={k: int(v) for k, v in arguments},
    )  # fmt: skip
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path))
    few, later = Pipeline(request), Pipeline(request)
    assert all(set(fit) == {4, 8} for fit in few.plan_calibration.weights.values())
    assert len(list(tmp_path.glob("stages/calibrate/*/calibration.st"))) == 1
    assert all(set(fit) == set(WIDTHS) for fit in later.calibration.weights.values())
    assert later.plan_calibration is later.calibration
    whole = quantize(later.calibration.only(later.plan), later.plan)
    assert few.quantized.ops == whole.ops
    assert all(np.array_equal(few.quantized.tensors[name], array) for name, array in whole.tensors.items())
