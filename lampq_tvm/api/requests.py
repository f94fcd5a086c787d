"""The request of each verb: what it is called with, on the command line and from Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from lampq_tvm.api.choosing import (
    BudgetOptions,
    CacheOptions,
    DropOptions,
    LatencyOptions,
    MethodOptions,
    RecipeOptions,
    SensitivityOptions,
)
from lampq_tvm.api.groups import (
    DATA,
    MODEL,
    DataOptions,
    DeviceOptions,
    DrawOptions,
    JobOptions,
    ModelOptions,
    ReadingOptions,
    TargetOptions,
    WeightOptions,
)
from lampq_tvm.api.option import Group, Option
from lampq_tvm.api.options import Options
from lampq_tvm.api.values import LARGE, check_range

ARTIFACT = Option("The .lampq file.", argument=True)


@dataclass(frozen=True, kw_only=True)
class CompileRequest(Options):
    """Of `compile`.

    Attributes:
        output: the `.lampq` file to write.
        plan: a plan made before; without it the budgets decide.
        debug_dump: a new folder for the network after each stage and pass, in readable files.
    """

    output: Annotated[Path, Option("The .lampq file to write.", flags=("-o", "--output"))]
    plan: Annotated[Path | None, Option("A bit plan made before; takes the place of budgets.")] = None
    debug_dump: Annotated[Path | None, Option("A new folder for the network after each stage and pass.")] = None


@dataclass(frozen=True, kw_only=True)
class PlanningOptions(
    TargetOptions,
    DataOptions,
    ModelOptions,
    BudgetOptions,
    MethodOptions,
    DrawOptions,
    SensitivityOptions,
    DeviceOptions,
    JobOptions,
):
    """What any verb reads that works out widths."""


@dataclass(frozen=True, kw_only=True)
class PlanRequest(PlanningOptions, DropOptions, LatencyOptions, CacheOptions):
    """Of `plan`.

    Attributes:
        output: the JSON file to write; a Python caller may do without.
        front: a JSON file for the whole Pareto front: the plans that no other beats in cost (the first budget's) and predicted
            loss, each with the budget that gives it.
    """

    output: Annotated[
        Path | None,
        Option("The JSON file to write; `compile --plan` takes it.", flags=("-o", "--output"), required=True),
    ] = None
    front: Annotated[
        Path | None, Option("JSON for the Pareto front as well: cost (of the first budget) against predicted loss.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class SensitivityRequest(PlanningOptions, LatencyOptions, CacheOptions):
    """Of `sensitivity`."""


@dataclass(frozen=True, kw_only=True)
class MeasureRequest(
    TargetOptions, DataOptions, ModelOptions, RecipeOptions, DrawOptions, DeviceOptions, JobOptions, CacheOptions
):
    """Of `measure`.

    Attributes:
        output: the JSON table to write; a Python caller may do without.
    """

    output: Annotated[
        Path | None,
        Option("The JSON table to write; --latency-table takes it.", flags=("-o", "--output"), required=True),
    ] = None


@dataclass(frozen=True, kw_only=True)
class TuneRequest(PlanningOptions):
    """Of `tune`.

    Attributes:
        plan: a plan made before; without it the budgets decide.
        trials: candidates per kernel.
    """

    plan: Annotated[Path | None, Option("Tune the kernels of this bit plan.")] = None
    trials: Annotated[int, Option("Tuning trials per kernel.")] = 64

    def check(self) -> None:
        """Refuse to tune nothing."""
        check_range("--trials", self.trials, 1, LARGE)


@dataclass(frozen=True, kw_only=True)
class ArtifactOptions(Group):
    """What was compiled.

    Attributes:
        artifact: the `.lampq` file.
    """

    artifact: Annotated[Path, ARTIFACT] = field(kw_only=False)


@dataclass(frozen=True, kw_only=True)
class RunRequest(ArtifactOptions, DeviceOptions):
    """Of `run`.

    Attributes:
        input: float32 [N, C, H, W], already normalized.
        output: the `.npy` file for the output, float32 [N, ...]; a `.npz` for several, `output_0` and so on.
        repeat: how often the whole input is run; the output is the last run's.
    """

    input: Annotated[Path, Option(".npy, float32 [N,C,H,W], already normalized.")]
    output: Annotated[Path, Option(".npy for the output, float32 [N,classes] or [N,...]; .npz for several.")]
    repeat: Annotated[int, Option("Run exactly so many times, without a hidden warm-up.")] = 1

    def check(self) -> None:
        """Refuse numbers out of range."""
        check_range("--repeat", self.repeat, 1, LARGE)


@dataclass(frozen=True, kw_only=True)
class EvalRequest(ArtifactOptions, ReadingOptions, DeviceOptions, JobOptions):
    """Of `eval`; here `jobs` take the place of `threads`, each working on batches of its own.

    Attributes:
        data: a folder of class folders or of images alone, or an `.npz`.
        images: how many images are drawn; all where None.
        fp32: run the float model beside it where it is still in the cache and torch is installed.
    """

    data: Annotated[Path, DATA]
    images: Annotated[int | None, Option("How many images are drawn; all where left out.")] = None
    fp32: Annotated[bool, Option("Leave out the float model.", flags=("--no-fp32",))] = True

    def check(self) -> None:
        """Refuse numbers out of range."""
        check_range("--images", self.images, 1, LARGE)


@dataclass(frozen=True, kw_only=True)
class DebugRequest(ArtifactOptions, ReadingOptions, WeightOptions, DrawOptions, DeviceOptions, JobOptions):
    """Of `debug`.

    Attributes:
        data: a folder of class folders or of images alone, or an `.npz`.
        images: how many images are drawn.
        model: the model's source where weights are given and the artifact's own name for it does not serve.
        recipe: that it was compiled by, where weights are given and its plan does not say so.
    """

    data: Annotated[Path, DATA]
    images: Annotated[int, Option("How many images are drawn.")] = 256
    model: Annotated[str | None, Option("The model's source, with --checkpoint; the artifact's own where left out.")] = None
    recipe: Annotated[str | None, Option("With --checkpoint: the recipe it was compiled by; the plan's where left out.")] = None

    def check(self) -> None:
        """Refuse numbers out of range."""
        check_range("--images", self.images, 1, LARGE)


@dataclass(frozen=True, kw_only=True)
class BenchRequest(ArtifactOptions, DeviceOptions):
    """Of `bench`.

    Attributes:
        repeat: how many runs are timed, after a warm-up. An emulated board's instructions are counted once instead.
    """

    repeat: Annotated[int, Option("How many runs are timed.")] = 50

    def check(self) -> None:
        """Refuse numbers out of range."""
        check_range("--repeat", self.repeat, 1, LARGE)


@dataclass(frozen=True, kw_only=True)
class InspectRequest(ArtifactOptions):
    """Of `inspect`."""


@dataclass(frozen=True, kw_only=True)
class DoctorRequest(WeightOptions):
    """Of `doctor`.

    Attributes:
        model: a timm name, a `.pt2` or an `.onnx`, to be looked at as well.
    """

    model: Annotated[str | None, MODEL] = field(default=None, kw_only=False)


@dataclass(frozen=True, kw_only=True)
class CacheRequest(Group):
    """Of `cache`.

    Attributes:
        clear: remove everything that can be made again.
        max_size: bytes, or a text such as `5GiB`; finished stages go, the least recently used first, until the cache fits.
        older_than: seconds, or a text such as `30d`; finished stages and tracebacks go that were not used since.
    """

    clear: Annotated[
        bool,
        Option(
            "Remove all that can be made again.",
            flags=("action",),
            argument=True,
            written=Literal["clear"] | None,
            read=lambda action: action == "clear",
        ),
    ] = False
    max_size: Annotated[
        str | int | None,
        Option("Remove the least recently used stages until it fits: 5GiB.", written=str | None, read=str),
    ] = None
    older_than: Annotated[
        str | float | None, Option("Remove what was not used for so long: 30d.", written=str | None, read=str)
    ] = None
