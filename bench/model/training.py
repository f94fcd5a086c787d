"""The recipe by which the reference models are trained: resumable, on two cores.

Muon on the matrices of the blocks, AdamW on the rest, one-cycle linear decay, flips and shifts, bf16 products where fast.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file

from bench.model.muon import NARROW, Muon

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


@dataclass(frozen=True)
class Split:
    """Images [N, H, W, C] uint8 and labels [N]."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Subject:
    """What is trained, on what.

    Attributes:
        name: the checkpoint's, without its suffix.
        model, arguments: of timm.create_model.
        shift: largest shift of an image, pixels.
        dtype: of the checkpoint.
        dropped: shares of its tokens that a ViT does not see, each until a share of the epochs; cheap epochs first.
    """

    name: str
    model: str
    arguments: dict[str, Any]
    train: Split
    test: Split
    shift: int = 2
    dtype: torch.dtype = torch.float32
    dropped: tuple[tuple[float, float], ...] = ()


def augment(images: torch.Tensor, rng: torch.Generator, shift: int) -> torch.Tensor:
    """Random horizontal flips and shifts of a batch [B, C, H, W]."""
    flip = torch.rand(len(images), generator=rng) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    padded = torch.nn.functional.pad(images, (shift,) * 4).permute(0, 2, 3, 1)
    dy, dx = torch.randint(0, 2 * shift + 1, (2, len(images)), generator=rng)
    rows = dy[:, None] + torch.arange(images.shape[2])
    columns = dx[:, None] + torch.arange(images.shape[3])
    moved = padded[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def build_optimizers(model: torch.nn.Module, lr_matrix: float, lr_rest: float) -> list[torch.optim.Optimizer]:
    """Muon on the two-dimensional weights of the blocks, AdamW on everything else."""

    def is_matrix(name: str, p: torch.nn.Parameter) -> bool:
        return p.ndim == 2 and name.startswith(("blocks", "layers")) and name.endswith("weight")

    matrices = [p for n, p in model.named_parameters() if is_matrix(n, p)]
    rest = [p for n, p in model.named_parameters() if not is_matrix(n, p)]
    return [Muon(matrices, lr_matrix), torch.optim.AdamW(rest, lr=lr_rest, weight_decay=0.01, betas=(0.9, 0.95))]


@torch.no_grad()
def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images whose largest logit is the label; float32."""
    model.eval()
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500), strict=True))
    model.train()
    return right / len(labels)


@dataclass(frozen=True)
class Pixels:
    """How images are normalized, by channel.

    Attributes:
        mean, std: [C].
    """

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def of(cls, images: np.ndarray) -> Pixels:
        """Those of images uint8 [N, H, W, C] themselves."""
        flat = images.reshape(-1, images.shape[-1]) / 255.0
        return cls(*(torch.tensor(values).float() for values in (flat.mean(0), flat.std(0))))

    @classmethod
    def given(cls, model: Any, channels: int) -> Pixels:
        """Those that a timm model's configuration names."""
        return cls(*(torch.tensor(model.pretrained_cfg[kind][:channels]) for kind in ("mean", "std")))

    def normalize(self, images: np.ndarray) -> torch.Tensor:
        """uint8 [N, H, W, C] to float32 [N, C, H, W]."""
        scaled = (torch.from_numpy(images.copy()).float() / 255 - self.mean) / self.std
        return scaled.permute(0, 3, 1, 2).contiguous()

    def fold(self, weights: dict[str, torch.Tensor], to: Pixels) -> dict[str, torch.Tensor]:
        """The same function of images normalized as `to` has it: the difference goes into the patch embedding."""
        kernel = weights["patch_embed.proj.weight"].double()
        offset = (to.mean.double() - self.mean) / self.std
        bias = weights["patch_embed.proj.bias"].double() + (kernel * offset[:, None, None]).sum((1, 2, 3))
        scaled = kernel * (to.std.double() / self.std)[:, None, None]
        return {**weights, "patch_embed.proj.weight": scaled.float(), "patch_embed.proj.bias": bias.float()}


def build(subject: Subject) -> Any:
    """The untrained model; attention as products, which is faster on two cores."""
    dropped = {"patch_drop_rate": subject.dropped[0][0]} if subject.dropped else {}
    model = timm.create_model(subject.model, **subject.arguments, **dropped)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    return model


class Training:
    """A model on the way, its state kept after every epoch."""

    def __init__(self, subject: Subject, pixels: Pixels, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.subject, self.args = subject, args
        self.model = build(subject)
        self.optimizers = build_optimizers(self.model, args.lr_matrix, args.lr_rest)
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.file, self.log = args.work / f"{subject.name}.pt", list[str]()
        if self.file.exists():
            state = torch.load(self.file, weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(kept)
            self.log = state["log"]
        elif args.start is not None:
            weights = {name: value.float() for name, value in load_file(args.start).items()}
            self.model.load_state_dict(Pixels.given(self.model, len(pixels.mean)).fold(weights, pixels))
            self.log = args.start.with_suffix(".log").read_text().splitlines()

    def keep(self, line: str) -> None:
        """An epoch ended, as `line` tells."""
        print(line, flush=True)
        self.log.append(line)
        kept = {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers], "log": self.log}
        torch.save(kept, self.file.with_suffix(".new"))
        self.file.with_suffix(".new").replace(self.file)

    def epoch(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """One pass over the images [N, C, H, W], in an order of its own."""
        rng = torch.Generator().manual_seed(self.args.seed * 1000 + len(self.log))
        batches = torch.randperm(len(images), generator=rng).split(self.args.batch)
        if self.subject.dropped:
            gone = len(self.log) / self.args.epochs
            self.model.patch_drop.prob = next((share for share, until in self.subject.dropped if gone < until), 0.0)
        for step, pick in enumerate(batches):
            self._slow_down(len(self.log) + step / len(batches))
            with torch.autocast("cpu", torch.bfloat16, enabled=NARROW):
                logits = self.model(augment(images[pick], rng, self.subject.shift))
            torch.nn.functional.cross_entropy(logits.float(), labels[pick], label_smoothing=0.05).backward()
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()

    def _slow_down(self, epochs: float) -> None:
        """Rates rise for a quarter of an epoch and fall in a line to zero."""
        factor = min(1.0, 4 * epochs) * (1 - epochs / self.args.epochs)
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor


def train(subject: Subject, args: argparse.Namespace) -> None:
    """Run the recipe and write the checkpoint with its log."""
    args.work.mkdir(parents=True, exist_ok=True)
    pixels = Pixels.of(subject.train.images)
    training = Training(subject, pixels, args)
    (x_train, y_train), (x_test, y_test) = (
        (pixels.normalize(split.images), torch.from_numpy(split.labels.copy()).long())
        for split in (subject.train, subject.test)
    )
    for epoch in range(len(training.log), args.epochs):
        start = time.perf_counter()
        training.epoch(x_train, y_train)
        top1 = accuracy(training.model, x_test, y_test)
        training.keep(f"epoch {epoch + 1}/{args.epochs}: top1 {top1:.4f}, {time.perf_counter() - start:.0f} s")
    weights = {name: value.contiguous() for name, value in training.model.state_dict().items()}
    weights = pixels.fold(weights, Pixels.given(training.model, len(pixels.mean)))
    weights = {name: value.to(subject.dtype) if value.is_floating_point() else value for name, value in weights.items()}
    save_file(weights, args.output / f"{subject.name}.safetensors", {"model_args": json.dumps(subject.arguments)})
    (args.output / f"{subject.name}.log").write_text("\n".join(training.log) + "\n")


def arguments(doc: str | None, epochs: int) -> argparse.ArgumentParser:
    """The options that every training has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the images")
    parser.add_argument("--work", type=Path, required=True, help="folder for the resumable state")
    parser.add_argument("--output", type=Path, default=CHECKPOINTS)
    parser.add_argument("--start", type=Path, help="a checkpoint of this recipe, its log beside it, to go on from")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--lr-matrix", type=float, default=0.01)
    parser.add_argument("--lr-rest", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    return parser
