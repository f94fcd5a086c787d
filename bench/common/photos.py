"""The trained ViT-S/14 of `bench.model.vit_s14`, and photos for it."""

from __future__ import annotations

from pathlib import Path

MODEL = "vit_small_patch14_dinov2"
SIZE = {"img_size": 224, "num_classes": 0}


def halves(photos: Path, folder: Path) -> tuple[Path, Path]:
    """Folders of links to every other photo: those that calibrate, and the rest."""
    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    found = folder / "calibration", folder / "test"
    for i, path in enumerate(files):
        link = found[i % 2] / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(path.resolve())
    return found
