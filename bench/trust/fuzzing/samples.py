"""Valid files of every kind, of a tiny model: made once, by the program itself."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from pathlib import Path

import numpy as np

from lampq_tvm.__main__ import run_command

SHAPE = ("img_size=16", "patch_size=8", "in_chans=1", "num_classes=4", "embed_dim=32", "depth=1", "num_heads=2")
MODEL = ["vit_tiny_patch16_224", *(x for arg in SHAPE for x in ("--model-arg", arg)), "--mean", "0.5", "--std", "0.5"]
FEW = ["--calib-images", "8", "--sens-images", "8"]
SAID = ["--mean", "0.5", "--std", "0.5"]  # of a model file's images


def make_samples(folder: Path) -> Path:
    """The folder, filled: data, checkpoints, model files, plan, artifacts for a CPU and a GPU, latency table.

    A child fills it: the threads that compilers leave behind would not live on in the children that read.
    """
    if not (folder / "done").exists():
        pid = os.fork()
        if pid == 0:
            try:
                _fill(folder)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        if not (folder / "done").exists():
            raise SystemExit("fuzz: the valid files could not be made")
    return folder


def _fill(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["LAMPQ_CACHE"] = str(folder / "cache")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (16, 16, 16), np.uint8), np.arange(16) % 4
    np.savez(folder / "data.npz", images=images, labels=labels)
    np.save(folder / "x.npy", rng.normal(size=(2, 1, 16, 16)).astype(np.float32))
    _save_images(folder / "images", images)
    _save_models(folder)
    data = ["--data", str(folder / "data.npz"), *FEW]
    _run("plan", *MODEL, *data, "--target", "host", "-o", folder / "plan.json")
    for name, target in (("cpu", "host"), ("gpu", "jetson-agx-orin-64gb")):
        _run("compile", *MODEL, *data, "--target", target, "--plan", folder / "plan.json", "-o", folder / f"{name}.lampq")
    _run("measure", *MODEL, *data[:4], "--target", "host", "-o", folder / "table.json")
    (folder / "done").touch()


def _run(*argv: object) -> None:
    if run_command([str(a) for a in argv]):
        raise SystemExit(f"fuzz: lampq {argv[0]} failed")


def _save_images(folder: Path, images: np.ndarray) -> None:
    from PIL import Image

    for i, pixels in enumerate(images):
        place = folder / f"class{i % 4}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i}.{('png', 'jpg', 'bmp', 'webp', 'tiff')[i % 5]}")


def _save_models(folder: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    args = {key: int(value) for key, value in (arg.split("=") for arg in SHAPE)}
    module = timm.create_model(MODEL[0], **args).eval()
    state = module.state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "weights.safetensors")
    torch.save(state, folder / "weights.pth")
    image = torch.zeros(1, 1, 16, 16)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (image,), str(folder / "model.onnx"), dynamo=False, opset_version=17)
        torch.export.save(torch.export.export(module, (image,)), folder / "model.pt2")
