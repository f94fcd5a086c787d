"""The straight road from a model's name to a plan and an integer network, each stage taken from the cache where it can be."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import hashlib
import tempfile
from pathlib import Path

import numpy as np

from lampq_tvm.allocate.plan import FLOAT_BITS, BitPlan, uniform_plan
from lampq_tvm.api.cache import Cache
from lampq_tvm.api.checks import check_output, require_file
from lampq_tvm.api.options import Options
from lampq_tvm.calibrate.calibration import WIDTHS, Calibration
from lampq_tvm.data import Dataset, open_dataset
from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.frontend.model import ImportedModel
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.lower.cuda.support import check_cuda_attention, check_cuda_model
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.sensitivity.pairs import Pairing
from lampq_tvm.sensitivity.table import Sensitivity
from lampq_tvm.store import Units, cache_dir, digest
from lampq_tvm.targets import Target, resolve_target


class Pipeline:
    """The stages of one request; each is worked out when it is first asked for.

    Args:
        options: the request.
        plan_file: a plan made before, which takes the place of sensitivity and solver.
    """

    def __init__(self, options: Options, plan_file: Path | None = None) -> None:
        self.options = options
        self.plan_file = plan_file
        # Without the cache, stages still need a place for their files; it goes when the pipeline goes.
        self._scratch = None if options.use_cache else tempfile.TemporaryDirectory(prefix="lampq-")
        self.cache = Cache(cache_dir() if self._scratch is None else Path(self._scratch.name))

    def check(self, output: Path | None = None) -> None:
        """Everything that can be refused before long work, in the order model, target, files, output, budget.

        Raises:
            LampqError: the first thing that is wrong.
        """
        _ = self.model
        if self.target.board is not None and self.target.kind == "cuda":
            board = self.target.board
            check_cuda_model(self.model, self.target.name, f"{board.name}:cpu" if board.cpu else None)
        max(self.calib_data, self.sens_data, key=len).verify()
        if self.plan_file is not None:
            _ = self.plan
        _ = self.given_table
        if output is not None:
            check_output(output)
        _ = self.floats
        if self.target.kind == "cuda":
            check_cuda_attention(self.model, self.target.isa, half="attention" in self.floats)
        if self.plan_file is None and not self.options.is_uniform16:
            self.check_budgets()

    @functools.cached_property
    def model(self) -> ImportedModel:
        """The imported model."""
        return self.cache.get(
            self.import_folder,
            "model.st",
            lambda folder: ImportedModel.load(folder / "model.st"),
            self._import,
            lambda folder, model: model.save(folder / "model.st"),
        )

    @functools.cached_property
    def import_folder(self) -> Path:
        """Where the imported model lies: named after the model's files, not after their paths."""
        o = self.options
        file = Path(o.model) if Path(o.model).suffix in (".pt2", ".onnx") else None
        files = ((file, "model"), (o.checkpoint, "checkpoint"))
        content = [_file_digest(path, what) for path, what in files if path is not None]
        weights = [o.pretrained, None if o.checkpoint or o.pretrained else o.seed, o.trust_model]
        name = file.name if file is not None else o.model
        return self.cache.folder("import", name, content, weights, dict(o.model_args), o.mean, o.std, o.size)

    def _import(self) -> ImportedModel:
        from lampq_tvm.frontend.load import load_model

        o = self.options
        return load_model(
            o.model,
            checkpoint=o.checkpoint,
            pretrained=o.pretrained,
            model_args=dict(o.model_args),
            trust_model=o.trust_model,
            seed=o.seed,
            mean=o.mean,
            std=o.std,
            size=o.size,
        )

    @functools.cached_property
    def target(self) -> Target:
        """What is compiled for."""
        return resolve_target(self.options.target)

    @functools.cached_property
    def model_digest(self) -> str:
        """Hex sha256 of operators and tensors."""
        m = self.model
        ops = [[type(op).__name__, dataclasses.asdict(op)] for op in m.ops]
        tensors = (x for pair in sorted(m.tensors.items()) for x in pair)
        return digest(ops, m.output, dataclasses.asdict(m.input), m.weights, *tensors)

    @functools.cached_property
    def data(self) -> Dataset:
        """All images; calibration and sensitivity draw theirs from them."""
        o, model = self.options, self.model
        if o.data is not None:
            classes = class_count(model) if model.has_classifier and model.weights == "trained" else None
            return open_dataset(o.data, model.input, classes=classes)
        if model.weights == "trained":
            hint = "give --data, a folder of class folders or an .npz"
            raise UsageError("calibration needs images", where=o.model, hint=hint)
        count, spec = max(o.calib_images, o.sens_images), model.input
        images = np.random.default_rng(o.seed).integers(0, 256, (count, spec.height, spec.width, spec.channels), np.uint8)
        return Dataset(Path("random images"), spec, np.zeros(count, np.int64), images=images)

    @functools.cached_property
    def calib_data(self) -> Dataset:
        """The images of calibration."""
        return self.data.sample(self.options.calib_images, self.options.seed)

    @functools.cached_property
    def sens_data(self) -> Dataset:
        """The images of sensitivity and of a plan's evaluation."""
        return self.data.sample(self.options.sens_images, self.options.seed)

    @functools.cached_property
    def calibration_key(self) -> str:
        """What calibration's result depends on."""
        return digest(self.model_digest, self.calib_data.fingerprint, self.options.seed)

    @functools.cached_property
    def calibration(self) -> Calibration:
        """Quantizers of every layer at every width."""
        return self._calibrated(self.cache.folder("calibrate", self.calibration_key), WIDTHS)

    @functools.cached_property
    def plan_calibration(self) -> Calibration:
        """Quantizers at the plan's widths, at least.

        A plan of 8 bits throughout takes few of them, and its weights are rounded one by one, so no other width is fitted for
        it; below that, roundings make up for each other across all widths at once.
        """
        folder = self.cache.folder("calibrate", self.calibration_key)
        if "calibration" in vars(self) or (folder / "calibration.st").exists():
            return self.calibration
        if any((row.w_bits, row.a_bits) != (8, 8) and not row.is_float for row in self.plan.layers):
            return self.calibration
        widths = tuple(sorted({8, min(8, self.plan.attention_bits)}))
        return self._calibrated(self.cache.folder("calibrate", self.calibration_key, widths), widths)

    def _calibrated(self, folder: Path, widths: tuple[int, ...]) -> Calibration:
        """Calibration at some widths; what the images showed is a unit of work that all widths share."""

        def compute() -> Calibration:
            from lampq_tvm.calibrate.fit import calibrate

            units = Units(self.cache.folder("calibrate", self.calibration_key) / "units")
            return calibrate(self.model, self.calib_data, units=units, widths=widths, seed=self.options.seed)

        return self.cache.get(folder, "calibration.st", Calibration.load, compute, lambda path, value: value.save(path))

    @property
    def sensitivity_key(self) -> tuple[str, ...]:
        """What sensitivity's result depends on."""
        o = self.options
        pairs = (self.pairing.mode, str(self.pairing.a_bits))
        return (self.calibration_key, self.sens_data.fingerprint, o.metric, o.alpha, *pairs)

    @functools.cached_property
    def pairing(self) -> Pairing:
        """The pairs of widths that a plan may take."""
        from lampq_tvm.allocate.problem import choose_pairing

        o = self.options
        return choose_pairing(o.metric != "lampq", o.parsed_budgets, o.tied, o.a_bits)

    @functools.cached_property
    def sensitivity(self) -> Sensitivity:
        """What each layer's bits are worth."""

        def compute() -> Sensitivity:
            from lampq_tvm.sensitivity.measure import sensitivity

            o, data, units = self.options, self.sens_data, Units(folder / "units")
            batches = data.__iter__  # called once per pass
            return sensitivity(self.calibration, batches, metric=o.metric, units=units, pairs=self.pairing, alpha=o.alpha)

        folder = self.cache.folder("sensitivity", *self.sensitivity_key)
        return self.cache.get(
            folder,
            "sensitivity.st",
            lambda path: Sensitivity.load(path / "sensitivity.st"),
            compute,
            lambda path, value: value.save(path / "sensitivity.st"),
        )

    @functools.cached_property
    def given_table(self) -> LatencyTable | None:
        """The latency table that the request names."""
        path = self.options.latency_table
        return None if path is None else LatencyTable.load(require_file(path, "the latency table"))

    @functools.cached_property
    def table(self) -> LatencyTable | None:
        """Latencies: those given, else measured where a device is named, else estimates where they are allowed."""
        o = self.options
        needed = any(b.needs_latency for b in o.parsed_budgets)
        if self.given_table is not None or not needed or (o.device is None and not o.allow_estimates):
            return self.given_table
        from lampq_tvm.api.measuring import measured_table

        return measured_table(self)

    def check_budgets(self) -> None:
        """Refuse budgets that no plan can meet, as far as that is known before anything is measured.

        Raises:
            InfeasibleError: no plan meets them.
            DeviceError: a time budget, and nothing to know times from.
        """
        from lampq_tvm.allocate.solve import allocate

        o = self.options
        known = self.given_table is not None or not (o.device or o.allow_estimates)
        budgets = [b for b in o.parsed_budgets if known or not b.needs_latency]
        names = tuple(layer.name for layer in self.model.layers)
        nothing = Sensitivity(o.metric, o.metric != "lampq", names, WIDTHS, np.zeros((len(names), len(WIDTHS), len(WIDTHS))))
        table, estimates = self.given_table, o.allow_estimates
        half, floats = self.target.kind == "cuda", self.floats
        allocate(
            self.model, nothing, budgets, latency=table, tied=o.tied, a_bits=o.a_bits, allow_estimates=estimates,
            floats=floats, half=half,
        )  # fmt: skip

    @functools.cached_property
    def floats(self) -> tuple[str, ...]:
        """What is known to stay float16 before a plan is worked out: names of layers, and `attention`.

        Raises:
            UsageError: a pattern of `--float-layers` names no layer.
        """
        o = self.options
        if self.plan_file is not None or o.is_uniform16:
            return self.plan.floats
        names = [layer.name for layer in self.model.layers]
        for pattern in o.float_layers:
            if not fnmatch.filter(names, pattern):
                near = ", ".join(names[:3])
                raise UsageError(f"no layer is called {pattern!r}", where="--float-layers", hint=f"there are {near}, ...")
        found = tuple(name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in o.float_layers))
        return (*found, "attention") if o.attention_bits == FLOAT_BITS else found

    def check_floats(self) -> None:
        """Refuse layers that the target cannot compute, as far as they are known.

        Raises:
            UnsupportedError: float16 layers for a target without kernels for them.
        """
        if self.floats and self.target.kind != "cuda":
            what = f"{self.floats[0]} stays float16, and float layers run on CUDA targets only"
            raise UnsupportedError(what, where=self.target.name, hint="give it 8 bits or fewer, or compile for a GPU")

    @functools.cached_property
    def plan(self) -> BitPlan:
        """The widths: read from the file that was given, else worked out."""
        if self.plan_file is not None:
            plan = BitPlan.load(require_file(self.plan_file, "the plan"))
            plan.check_fits(self.model, str(self.plan_file))
            return plan
        o = self.options
        if (o.is_uniform8 and self.given_table is None) or o.is_uniform16:
            bits, attention = (FLOAT_BITS, FLOAT_BITS) if o.is_uniform16 else (8, o.attention_bits)
            plan = uniform_plan(self.model, bits, bits, attention, o.softmax)
            plan = plan if o.is_uniform16 else plan.with_floats(self.floats)
            return plan.model_copy(update={"budgets": tuple(b.text for b in o.parsed_budgets)})
        from lampq_tvm.api.planning import solved

        return solved(self)

    @functools.cached_property
    def quantized(self) -> QuantizedModel:
        """The integer network."""

        def compute() -> QuantizedModel:
            from lampq_tvm.quantize.build import quantize

            return quantize(self.plan_calibration, self.plan)

        return self.cache.get(
            self.cache.folder("quantize", self.calibration_key, self.plan.model_dump()),
            "quantized.st",
            lambda path: QuantizedModel.load(path / "quantized.st"),
            compute,
            lambda path, value: value.save(path / "quantized.st"),
        )


def class_count(model: ImportedModel) -> int:
    """Number of a classifier's classes: the rows of its head."""
    return next(layer.out_features for layer in reversed(model.layers) if layer.type == "head")


def _file_digest(path: Path, what: str) -> str:
    """Hex sha256 of a file's content."""
    h = hashlib.sha256()
    with require_file(path, f"the {what}").open("rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()
