"""Train the demo's Vision Transformer on Fashion-MNIST.

    python -m bench.model.fashion_mnist --data FOLDER_WITH_IDX_FILES --work FOLDER

It goes on from the last whole epoch when started again.
"""

from __future__ import annotations

from pathlib import Path

from bench.common.sample import read_idx
from bench.model.training import Split, Subject, arguments, train

VIT = {
    "img_size": 28, "patch_size": 4, "in_chans": 1, "num_classes": 10,
    "embed_dim": 96, "depth": 6, "num_heads": 3,
}  # fmt: skip


def load_split(folder: Path, split: str) -> Split:
    """Split `train` or `t10k` of the idx files."""
    images = read_idx(folder / f"{split}-images-idx3-ubyte.gz")[..., None]
    return Split(images, read_idx(folder / f"{split}-labels-idx1-ubyte.gz"))


def main() -> None:
    """Command line."""
    args = arguments(__doc__, epochs=14).parse_args()
    splits = [load_split(args.data, split) for split in ("train", "t10k")]
    train(Subject("fashion_mnist_vit", "vit_tiny_patch16_224", VIT, *splits), args)


if __name__ == "__main__":
    main()
