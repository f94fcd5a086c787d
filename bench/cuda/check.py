"""Runs what bench/cuda/bundle.py built, where there is a GPU: exactness, times, candidates, peers.

    python -m bench.cuda.check exact      --bundle build/cuda_check     every kernel, then whole artifacts, bit for bit
    python -m bench.cuda.check ours                                     artifacts at each batch, in turns
    python -m bench.cuda.check profile                                  every launch of them alone, by kernel
    python -m bench.cuda.check candidates                               every candidate of tiles, exact and timed
    python -m bench.cuda.check peers                                    torch in fp16: eager, compiled, with int8 products

Each part takes under 8 minutes and prints a table and a line of JSON (--output keeps it). It needs numpy, this package's
runtime and a driver; `peers` needs torch and timm.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lampq_tvm.device.cuda.driver import Driver
from lampq_tvm.device.cuda.gpu import Gpu
from lampq_tvm.runtime.runner import load

REPEATS, SAMPLES = 20, 15
CLOSE = 0.02  # as the gate of `compile` has it
MODELS = {
    "deit_tiny": ("deit_tiny_patch16_224", (1, 32)),
    "deit_small": ("deit_small_patch16_224", (1, 8, 32)),
    "vit_base": ("vit_base_patch16_224", (1, 32)),
}
BATCHES = (1, 8, 32)
Row = dict[str, Any]
KINDS = ("eager", "fp16", "int8")
SETTINGS: dict[str, Any] = {"gate": None, "kinds": KINDS}


def bundled(path: Path) -> Iterator[tuple[Row, bytes, dict[str, np.ndarray]]]:
    """(description, cubin, buffers with `expected`) of each kernel of a bundle."""
    with np.load(path) as arrays:
        shared: dict[str, dict[str, np.ndarray]] = {}
        for i, row in enumerate(json.loads(arrays["index"].tobytes())):
            names = [key for key in arrays.files if key.startswith(f"{i}/")]
            found = {name.partition("/")[2]: arrays[name] for name in names}
            cubin = found.pop("cubin").tobytes()
            if "expected" in found:
                shared[row["same"]] = found
            sizes = zip(row["params"], row["sizes"], strict=True) if not row["same"] else ()
            yield row, cubin, shared[row["same"]] if row["same"] else {name: noise(*size) for name, size in sizes}


@functools.cache
def noise(size: int, dtype: str) -> np.ndarray:
    """[size] uint8 of a buffer of a kernel that is timed alone: random bytes, zeros where they are floats or indices."""
    plain = dtype in ("float32", "int32")
    return np.zeros(size, np.uint8) if plain else np.random.default_rng(0).integers(0, 256, size, np.uint8)


def run_kernel(gpu: Gpu, row: Row, cubin: bytes, buffers: dict[str, np.ndarray]) -> tuple[int, Callable[[], None]]:
    """Bytes that differ from the oracle's after one launch, and how to launch it again."""
    addresses = {name: gpu.allocate(max(1, buffers[name].nbytes)) for name in row["params"]}
    for name, address in addresses.items():
        gpu.upload(address, np.ascontiguousarray(buffers[name]))
    function = gpu.function(gpu.load(cubin), row["entry"], row["shared_bytes"])

    def launch() -> None:
        values = [addresses[name] for name in row["params"]]
        gpu.launch(function, tuple(row["grid"]), tuple(row["block"]), row["shared_bytes"], values)

    launch()
    if "expected" not in buffers:
        return 0, launch
    out, expected = buffers[row["of"]], buffers["expected"]
    found = gpu.download(addresses[row["of"]], out.nbytes).reshape(len(out), -1)[:, : expected.shape[1]]
    return int((found != expected).sum()), launch


def milliseconds(gpu: Gpu, launch: Callable[[], None]) -> list[float]:
    """Times of one launch, from graphs of many."""

    def run() -> None:
        for _ in range(REPEATS):
            launch()

    graph = gpu.capture(run)
    return [1e3 * gpu.seconds(lambda: gpu.replay(graph)) / REPEATS for _ in range(SAMPLES + 3)][3:]


def check_kernels(path: Path, open_gpu: Callable[[], Gpu] = Driver) -> Iterator[Row]:
    """Every kernel of a bundle: 0 means equal in every byte."""
    for row, cubin, buffers in bundled(path):
        gpu = open_gpu()
        try:
            differ, _ = run_kernel(gpu, row, cubin, buffers)
        finally:
            gpu.close()
        yield {"what": row["name"], "differ": differ, "of": buffers["expected"].size}


def exact(bundle: Path) -> list[Row]:
    """Every kernel and every artifact; a row is printed when it is known, so that a run cut short loses nothing."""
    rows: list[Row] = []
    for row in compared(bundle):
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(f"{len(rows)} compared, {sum(row['differ'] > 0 for row in rows)} differ")
    return rows


def compared(bundle: Path) -> Iterator[Row]:
    """Rows of the bundle's kernels, then of its artifacts, at each batch: the images over and over."""
    if (bundle / "kernels.npz").exists():
        yield from check_kernels(bundle / "kernels.npz")
    for path in sorted(bundle.glob("*.lampq")):
        with np.load(path.with_suffix(".npz")) as known, load(path) as runner:
            for batch in (size for size in BATCHES if size <= runner.batch):
                images, logits = (np.resize(known[key], (batch, *known[key].shape[1:])) for key in ("images", "logits"))
                yield {"what": path.stem, "batch": batch, **difference(runner(images), logits, path.stem.endswith("-16"))}


def difference(found: np.ndarray, wanted: np.ndarray, close: bool) -> Row:
    """How many logits differ; of a float16 model, which is only `close`, 1 where they lie more than `CLOSE` away."""
    if not close:
        return {"differ": int((found != wanted).sum()), "of": wanted.size}
    away = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted - wanted.mean()))
    return {"differ": int(away > CLOSE), "of": 1, "away": round(away, 5)}


def ours(bundle: Path) -> list[Row]:
    """Artifacts at each batch: median of the graph's times, taken in turns."""
    rows: list[Row] = []
    for name, (_, batches) in MODELS.items():
        found = {path.stem: load(path) for path in sorted(bundle.glob(f"{name}-*.lampq"))}
        for batch in batches:
            samples: dict[str, list[float]] = {stem: [] for stem in found}
            for _ in range(SAMPLES):
                for stem, runner in found.items():
                    samples[stem] += runner.bench(5, batch=batch)
            rows += [{"what": s, "batch": batch, "median_ms": round(float(np.median(x)), 4)} for s, x in samples.items()]
        for runner in found.values():
            runner.close()
    return rows


def profile(bundle: Path) -> list[Row]:
    """Microseconds of each kernel of the artifacts alone, and how often a run launches it."""
    rows: list[Row] = []
    for name, (_, batches) in MODELS.items():
        for path in sorted(bundle.glob(f"{name}-*.lampq")):
            with load(path) as runner:
                for batch in batches:
                    found: dict[str, list[float]] = {}
                    for kernel, ms in runner.launch_ms(batch):
                        found.setdefault(kernel, []).append(1e3 * ms)
                    for kernel, us in found.items():
                        row = {"what": path.stem, "batch": batch, "kernel": kernel, "times": len(us)}
                        rows.append({**row, "us": round(float(np.median(us)), 2)})
    return rows


def candidates(bundle: Path) -> list[Row]:
    """Every candidate, exact where that was bundled, and timed; the first of each product is the default."""
    rows: list[Row] = []
    for path in sorted(bundle.glob("candidates-*.npz")):
        gpu = Driver()
        for row, cubin, buffers in bundled(path):
            differ, launch = run_kernel(gpu, row, cubin, buffers)
            median = float(np.median(milliseconds(gpu, launch)))
            product, _, tiles = row["name"].rpartition("_t")
            checked = differ if row["same"] else "not checked"
            rows.append({"what": product, "tiles": tiles, "differ": checked, "median_ms": round(median, 5)})
            print(json.dumps(rows[-1]), flush=True)
        gpu.close()
    return rows


def peers(bundle: Path) -> list[Row]:
    """torch in fp16 on the same GPU, random weights: eager, compiled with CUDA graphs, and with int8 products.

    Each call is compiled before any is timed; with a gate (`--gate`) processes that compile side by side wait there, and time
    one after the other once its file `go` is there.
    """
    from bench.common.peers.cuda_torch import median_ms, runs

    found = []
    for source, batches in MODELS.values():
        for batch in batches:
            for name, call, x in runs(source, batch, SETTINGS["kinds"]):
                found.append((source, batch, name, call, x, median_ms(call, x, 1, 1)))
    with turn():
        rows = []
        for source, batch, name, call, x, first in found:
            median = first if isinstance(first, str) else median_ms(call, x, REPEATS, SAMPLES)
            rows.append({"what": f"{source} {name}", "batch": batch, "median_ms": median})
        return rows


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Wait at the gate, then for the processes before this one."""
    gate = SETTINGS["gate"]
    if gate is None:
        yield
        return
    (gate / f"ready-{os.getpid()}").touch()
    while not (gate / "go").exists():
        time.sleep(0.2)
    with open(gate / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


PARTS = {"exact": exact, "ours": ours, "profile": profile, "candidates": candidates, "peers": peers}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--bundle", type=Path, default=Path("build/cuda_check"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, help="of the models', all if left out")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of peers")
    parser.add_argument("--gate", type=Path, help="folder at which peers wait for the file `go`")
    args = parser.parse_args()
    for name, (source, batches) in list(MODELS.items()):
        kept = tuple(batch for batch in batches if not args.batches or batch in args.batches)
        MODELS[name] = (source, kept if name in args.models else ())
    SETTINGS.update(gate=args.gate, kinds=args.kinds)
    rows = PARTS[args.part](args.bundle)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    text = json.dumps({"part": args.part, "rows": rows})
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
