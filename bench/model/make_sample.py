"""Make the shipped Fashion-MNIST sample from the idx files: calibration from the training set, test from the test set.

python -m bench.model.make_sample --data FOLDER_WITH_IDX_FILES
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bench.common.sample import SAMPLE, read_idx

NOTICE = """Images and labels are from Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist), used under its licence:

The MIT License (MIT) Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

`calib512.npz`: 512 images of the training set, balanced over the classes, drawn and shuffled with seed 0.
`test2000.npz`: the first 2,000 images of the test set, in their order.
Both hold `images` uint8 [N, 28, 28] and `labels` [N], 0 T-shirt, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt,
7 sneaker, 8 bag, 9 ankle boot.
"""


def balanced(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices [count], shuffled; class sizes differ by at most one."""
    rng = np.random.default_rng(seed)
    classes = np.unique(labels)
    shares = [count // len(classes) + (i < count % len(classes)) for i in range(len(classes))]
    picks = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, shares, strict=True)]
    return rng.permutation(np.concatenate(picks))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the idx .gz files")
    parser.add_argument("--output", type=Path, default=SAMPLE)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    images, labels = (read_idx(args.data / f"train-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1"))
    pick = balanced(labels, 512, seed=0)
    np.savez_compressed(args.output / "calib512.npz", images=images[pick], labels=labels[pick])
    images, labels = (read_idx(args.data / f"t10k-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1"))
    np.savez_compressed(args.output / "test2000.npz", images=images[:2000], labels=labels[:2000])
    (args.output / "LICENSE").write_text(NOTICE)


if __name__ == "__main__":
    main()
