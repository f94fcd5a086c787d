"""Groups of options that several verbs share: the model, its images, where it runs, how much is done at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lampq_tvm.api.option import Group, Option
from lampq_tvm.api.values import LARGE, MOST_THREADS, check_choice, check_range, floats, parse_model_args, parse_size
from lampq_tvm.errors import UsageError

if TYPE_CHECKING:
    from lampq_tvm.data.reading import Reading

MODEL = Option("A timm name, a folder of the Hugging Face hub, a .pt2 or an .onnx.", argument=True)
DATA = Option("Folder of class folders or of images, or .npz with images (and labels).")


@dataclass(frozen=True, kw_only=True)
class WeightOptions(Group):
    """Where a model's weights come from, and what is done to its images.

    Attributes:
        checkpoint: a safetensors file, or a weights-only torch file.
        pretrained: take timm's published weights.
        model_args: arguments of the timm model (`depth`, `img_size`, ...).
        trust_model: load a `.pt2`, which can hold code.
        strict_integer: refuse what has no integer rule instead of keeping it in float32.
        features, feature_form: of a timm model in place of its answer, of which blocks and how they lie.
        mean, std, size: preprocessing, where the model does not name it or another one is wanted.
    """

    checkpoint: Annotated[Path | None, Option("Trained weights: safetensors, or a weights-only torch file.")] = None
    pretrained: Annotated[bool, Option("Take timm's published weights.")] = False
    model_args: Annotated[
        Mapping[str, Any],
        Option(
            "Argument of the timm model, k=v; may be repeated.",
            flags=("--model-arg",),
            written=list[str] | None,
            read=parse_model_args,
        ),
    ] = field(default_factory=dict)
    trust_model: Annotated[bool, Option("Load a .pt2, which can hold code.")] = False
    strict_integer: Annotated[bool, Option("Refuse what has no integer rule, which else stays float.")] = False
    features: Annotated[
        str | None, Option("Features of a timm model's blocks in place of its answer: 2,5,8,11, counted from 0, or last.")
    ] = None
    feature_form: Annotated[str, Option("How features lie: nchw, or tokens [N,T,C].")] = "nchw"
    mean: Annotated[
        tuple[float, ...] | None, Option("Mean per channel of pixels in 0..1, by commas.", read=floats("--mean"))
    ] = None
    std: Annotated[tuple[float, ...] | None, Option("Standard deviation per channel, by commas.", read=floats("--std"))] = None
    size: Annotated[
        int | tuple[int, int] | None, Option("Input image in pixels: its side, or HEIGHTxWIDTH.", read=parse_size)
    ] = None

    def check(self) -> None:
        """Refuse two sources of weights, and a mean or a deviation of no pixels."""
        for side in self.size if isinstance(self.size, tuple) else (self.size,):
            check_range("--size", side, 1, 1 << 14)
        check_choice("--feature-form", self.feature_form, ("nchw", "tokens"))
        if self.checkpoint is not None and self.pretrained:
            raise UsageError("--checkpoint and --pretrained exclude each other", hint="give one of them")
        if self.mean is not None or self.std is not None:
            from lampq_tvm.frontend.preprocessing import check_scale

            check_scale(self.mean, self.std)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(WeightOptions):
    """The network.

    Attributes:
        model: a timm name, a `.pt2` or an `.onnx`.
    """

    model: Annotated[str, MODEL] = field(kw_only=False)


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Group):
    """How images and their labels are read.

    Attributes:
        class_order: how class folders are numbered, `text` or `natural`; None where both must agree.
        class_map: a file that says which class each folder is.
        skip_broken: leave out broken image files.
    """

    class_order: Annotated[str | None, Option("How class folders are numbered: text (torchvision) or natural (timm).")] = None
    class_map: Annotated[Path | None, Option("Which class each folder is: names by line, or JSON.")] = None
    skip_broken: Annotated[bool, Option("Leave out broken image files instead of refusing them.")] = False

    @property
    def reading(self) -> Reading:
        """What the readers take."""
        from lampq_tvm.data.reading import Reading

        return Reading(self.class_order, self.class_map, self.skip_broken)

    def check(self) -> None:
        """Refuse what is no order of classes."""
        _ = self.reading


@dataclass(frozen=True, kw_only=True)
class DataOptions(ReadingOptions):
    """The images.

    Attributes:
        data: images for calibration and sensitivity; may be left out where the weights are random.
    """

    data: Annotated[Path | None, DATA] = None


@dataclass(frozen=True, kw_only=True)
class TargetOptions(Group):
    """What is compiled for.

    Attributes:
        target: `host`, or a board (`raspberry-pi-5`, `jetson-agx-orin-64gb:cpu`).
        batch: images the artifact takes at once.
    """

    target: Annotated[str, Option("host, or a board: raspberry-pi-5, jetson-agx-orin-64gb:cpu, ...")] = "host"
    batch: Annotated[int, Option("Images the artifact takes at once.")] = 1

    def check(self) -> None:
        """Refuse batches that no artifact takes."""
        check_range("--batch", self.batch, 1, 1024)


@dataclass(frozen=True, kw_only=True)
class KeyOptions(Group):
    """What opens a device.

    Attributes:
        key_file: the key of a device that wants one, which this process and those it starts then use.
    """

    key_file: Annotated[Path | None, Option("Key of a device that wants one. [default: $LAMPQ_DEVICE_KEY_FILE]")] = None

    def check(self) -> None:
        """Take the key.

        Raises:
            UsageError: the file holds no key, or others can read it.
        """
        if self.key_file is not None:
            from lampq_tvm.device.key import choose_file

            choose_file(self.key_file)


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(KeyOptions):
    """Where something runs.

    Attributes:
        device: as `lampq device list` says (`local`, `emulated`, `rpc://host:port`); where latency is measured and the
            artifact is checked.
        threads: cores to use (None: all of the target's).
    """

    device: Annotated[str | None, Option("Where it runs: local, emulated, rpc://..., see lampq device list.")] = None
    threads: Annotated[int | None, Option("Cores to use, the fastest first; all where left out.")] = None

    def check(self) -> None:
        """Refuse what is no device, or none that is served yet."""
        check_range("--threads", self.threads, 1, MOST_THREADS)
        check_device(self.device)


@dataclass(frozen=True, kw_only=True)
class DrawOptions(Group):
    """What is drawn.

    Attributes:
        calib_images: how many images calibration uses.
        seed: of random weights and of the images' draw.
    """

    calib_images: Annotated[int, Option("Images for calibration.")] = 128
    seed: Annotated[int, Option("Of random weights and of the draw of images.")] = 0

    def check(self) -> None:
        """Refuse numbers out of range."""
        check_range("--seed", self.seed, 0, 2**63 - 1)
        check_range("--calib-images", self.calib_images, 1, LARGE)


@dataclass(frozen=True, kw_only=True)
class JobOptions(Group):
    """How much is done at once.

    Attributes:
        jobs: how many layers, images or candidate plans are worked on at once, each by one thread (None: the cores that this
            process may use), fewer where memory is short. No result depends on it.
    """

    jobs: Annotated[int | None, Option("Layers or images worked on at once, a thread each; all cores where left out.")] = None

    def check(self) -> None:
        """Refuse numbers out of range."""
        check_range("--jobs", self.jobs, 1, MOST_THREADS)


def check_device(text: str | None) -> None:
    """Refuse what is no device.

    Raises:
        UsageError: not one of the forms of `--device`, or the key given for it is no secret.
        UnsupportedError: a kind that is not served yet.
    """
    from lampq_tvm.device.kinds import find_device

    find_device(text).check()
