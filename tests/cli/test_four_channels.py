"""A model of four channels takes RGBA, from files and from an `.npz` alike, all the way to its artifact."""

import json

import numpy as np
from PIL import Image

from tests.cli.conftest import FEW, MODEL

FOUR = [arg.replace("in_chans=1", "in_chans=4") for arg in MODEL]


def test_rgba_from_files_and_npz(lampq, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 4), np.uint8)
    np.savez(tmp_path / "x.npz", images=pixels)
    (tmp_path / "flat").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "flat" / f"{i:02d}.png")
    written = []
    for data in (tmp_path / "x.npz", tmp_path / "flat"):
        out = tmp_path / f"{data.name}.lampq"
        found = lampq("compile", *FOUR, *FEW, "--data", data, "-o", out)
        assert found.code == 0, found.err
        found = lampq("eval", out, "--data", data, "--json")
        assert found.code == 0 and json.loads(found.out.splitlines()[-1])["n"] == 12
        written.append(out.read_bytes())
    assert written[0] == written[1]
    found = lampq("compile", *MODEL, *FEW, "--data", tmp_path / "x.npz", "-o", tmp_path / "y.lampq")
    assert found.code == 2 and "1 or 3 channels" in found.line
