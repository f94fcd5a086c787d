"""Train the demo's Vision Transformer on Fashion-MNIST and write its checkpoint and the shipped sample.

    python -m bench.model.train --data FOLDER_WITH_IDX_FILES --work /tmp/fmnist --epochs 12

The recipe: Muon on the matrices of the blocks, AdamW on the rest, one-cycle linear decay, flips and shifts,
float32 with bf16 autocast. It saves after every epoch and goes on from there when started again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file

MODEL_ARGS = {
    "img_size": 28, "patch_size": 4, "in_chans": 1, "num_classes": 10,
    "embed_dim": 96, "depth": 6, "num_heads": 3,
}  # fmt: skip
MEAN, STD = 0.2860, 0.3530  # of the training images
TIMM_MEAN, TIMM_STD = 0.5, 0.5  # of the model's pretrained_cfg: what the checkpoint is made for


def read_idx(path: Path) -> np.ndarray:
    """Array of an idx-ubyte .gz file (header: two zero bytes, type, rank, big-endian sizes)."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images [N, 28, 28] uint8, labels [N] uint8) of split `train` or `t10k`."""
    return read_idx(folder / f"{split}-images-idx3-ubyte.gz"), read_idx(folder / f"{split}-labels-idx1-ubyte.gz")


def augment(images: torch.Tensor, rng: torch.Generator, shift: int = 2) -> torch.Tensor:
    """Random horizontal flips and shifts of a batch [B, 1, H, W]."""
    flip = torch.rand(len(images), generator=rng) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    padded = torch.nn.functional.pad(images, (shift,) * 4)
    dy, dx = torch.randint(0, 2 * shift + 1, (2, len(images)), generator=rng)
    rows = dy[:, None] + torch.arange(images.shape[2])
    columns = dx[:, None] + torch.arange(images.shape[3])
    return padded[torch.arange(len(images))[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


def build_optimizers(model: torch.nn.Module, lr_matrix: float, lr_rest: float) -> list[torch.optim.Optimizer]:
    """Muon on the two-dimensional weights of the blocks, AdamW on everything else."""
    matrices = [p for n, p in model.named_parameters() if n.startswith("blocks") and p.ndim == 2]
    rest = [p for n, p in model.named_parameters() if not (n.startswith("blocks") and p.ndim == 2)]
    muon = torch.optim.Muon(matrices, lr=lr_matrix, momentum=0.95, weight_decay=0.01)
    return [muon, torch.optim.AdamW(rest, lr=lr_rest, weight_decay=0.01, betas=(0.9, 0.95))]


@torch.no_grad()
def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images whose largest logit is the label; float32."""
    model.eval()
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500), strict=True))
    model.train()
    return right / len(labels)


def normalize(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W] to float32 [N, 1, H, W]."""
    return ((torch.from_numpy(images.copy()).float() / 255 - MEAN) / STD)[:, None]


def fold_normalization(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same function of images normalized by timm's mean and std: the difference goes into the patch embedding."""
    kernel = weights["patch_embed.proj.weight"].double()
    bias = weights["patch_embed.proj.bias"].double() + kernel.sum((1, 2, 3)) * (TIMM_MEAN - MEAN) / STD
    folded = {"patch_embed.proj.weight": kernel * TIMM_STD / STD, "patch_embed.proj.bias": bias}
    return {**weights, **{name: value.float() for name, value in folded.items()}}


def train(args: argparse.Namespace) -> None:
    """Run the recipe, a checkpoint after every epoch."""
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    images, labels = load_split(args.data, "train")
    x_train, y_train = normalize(images), torch.from_numpy(labels.copy()).long()
    images, labels = load_split(args.data, "t10k")
    x_test, y_test = normalize(images), torch.from_numpy(labels.copy()).long()
    model = timm.create_model("vit_tiny_patch16_224", **MODEL_ARGS)
    for block in model.blocks:
        block.attn.fused_attn = False
    optimizers = build_optimizers(model, args.lr_matrix, args.lr_rest)
    base = [[g["lr"] for g in o.param_groups] for o in optimizers]
    start, state_file = 0, args.work / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        for o, s in zip(optimizers, state["optimizers"], strict=True):
            o.load_state_dict(s)
        start = state["epoch"]
    steps = len(x_train) // args.batch
    for epoch in range(start, args.epochs):
        rng, t0 = torch.Generator().manual_seed(args.seed * 1000 + epoch), time.perf_counter()
        order = torch.randperm(len(x_train), generator=rng)
        for step in range(steps):
            done = (epoch * steps + step) / (args.epochs * steps)
            factor = min(1.0, done * args.epochs * 4) * (1 - done)
            for o, rates in zip(optimizers, base, strict=True):
                for g, lr in zip(o.param_groups, rates, strict=True):
                    g["lr"] = lr * factor
            pick = order[step * args.batch : (step + 1) * args.batch]
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(augment(x_train[pick], rng))
            loss = torch.nn.functional.cross_entropy(logits.float(), y_train[pick], label_smoothing=0.05)
            loss.backward()
            for o in optimizers:
                o.step()
                o.zero_grad()
        top1 = accuracy(model, x_test, y_test)
        print(f"epoch {epoch + 1}/{args.epochs}: top1 {top1:.4f}, {time.perf_counter() - t0:.0f} s", flush=True)
        state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "epoch": epoch + 1}
        torch.save(state, state_file.with_suffix(".new"))
        state_file.with_suffix(".new").replace(state_file)
    weights = fold_normalization({k: v.contiguous() for k, v in model.state_dict().items()})
    save_file(weights, args.output / "fashion_mnist_vit.safetensors", {"model_args": json.dumps(MODEL_ARGS)})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the idx .gz files")
    parser.add_argument("--work", type=Path, required=True, help="folder for the resumable state")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "checkpoints")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--lr-matrix", type=float, default=0.01)
    parser.add_argument("--lr-rest", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
