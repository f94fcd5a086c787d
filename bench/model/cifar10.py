"""Train a Vision Transformer or a small Swin on CIFAR-10, from a folder `train/<class>/*.jpg`, `test/<class>/*.jpg`.

    python -m bench.model.cifar10 swin --data FOLDER --work FOLDER

It goes on from the last whole epoch when started again, on another machine from the checkpoint that `--start` names. The images
are JPEG files, so that figures do not compare with papers'.
"""

from __future__ import annotations

import torch

from bench.common.cifar import load_split
from bench.model.training import Split, Subject, arguments, train

SIZE = {"img_size": 32, "num_classes": 10}
VIT = {**SIZE, "patch_size": 4, "embed_dim": 192, "depth": 9, "num_heads": 3}
SWIN = {**SIZE, "patch_size": 2, "window_size": 4, "embed_dim": 48, "depths": [2, 4, 2], "num_heads": [3, 6, 12]}
MODELS = {"vit": ("vit_tiny_patch16_224", VIT), "swin": ("swin_tiny_patch4_window7_224", SWIN)}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, epochs=30)
    parser.add_argument("model", choices=MODELS)
    args = parser.parse_args()
    name, sizes = MODELS[args.model]
    images, test = (Split(*load_split(args.data, split)) for split in ("train", "test"))
    dropped = ((0.75, 0.3), (0.5, 0.8)) if args.model == "vit" else ()
    train(Subject(f"cifar10_{args.model}", name, sizes, images, test, shift=3, dtype=torch.float16, dropped=dropped), args)


if __name__ == "__main__":
    main()
