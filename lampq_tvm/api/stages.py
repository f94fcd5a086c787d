"""The stages of a request that come before its plan, each taken from the cache where it can be."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from lampq_tvm.api.checks import require_file
from lampq_tvm.api.methods import note_other_times
from lampq_tvm.api.options import Options
from lampq_tvm.bitplan import BitPlan
from lampq_tvm.calibrate.calibration import WIDTHS, Calibration
from lampq_tvm.data import Dataset, Reading, open_dataset
from lampq_tvm.errors import UsageError
from lampq_tvm.frontend.model_files import file_digest, lies_in_files, model_files
from lampq_tvm.frontend.preprocessing import input_rows
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.network.model import ImportedModel
from lampq_tvm.progress import note
from lampq_tvm.scratch import scratch
from lampq_tvm.sensitivity.pairs import Pairing
from lampq_tvm.sensitivity.table import Sensitivity
from lampq_tvm.spread import one_thread, torch_alone
from lampq_tvm.stage_cache import Cache
from lampq_tvm.store import Units, cache_dir, digest
from lampq_tvm.targets import Target, resolve_target

CHANGED_HINT = "give it again when nothing writes there"
JUDGED = 4  # times the images that a plan without a loss would need: a few losses then do not refuse it
JUDGED_LEAST = 128  # images, however large the drop: enough to see whether labels mean anything

HELD_BACK = 8  # images that show whether calibration saw enough


class Stages:
    """What is known of a request before any widths are chosen; each stage is worked out when it is first asked for."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._images_told = False
        # Without the cache, stages still need a place for their files; it goes when the stages go.
        self._scratch = None if options.use_cache else scratch("no-cache")
        self.cache = Cache(cache_dir() if self._scratch is None else Path(self._scratch.name))

    @functools.cached_property
    def model(self) -> ImportedModel:
        """The imported model."""
        return self.cache.file(self.import_folder, "model.st", ImportedModel, self._import)

    def shown(self) -> dict[str, str]:
        """Every resolved option as text, the model's own preprocessing where none was given; imports the model."""
        classes = str(class_count(self.model)) if self.model.has_classifier else "-"
        return self.options.shown() | input_rows(self.model.input) | {"classes": classes}

    @functools.cached_property
    def import_folder(self) -> Path:
        """Where the imported model lies: named after all bytes that are read for it, not after their paths."""
        o = self.options
        name = Path(o.model).resolve().name if lies_in_files(o.model) else o.model
        weights = [
            o.pretrained,
            None if o.checkpoint or o.pretrained else o.seed,
            o.trust_model,
            o.strict_integer,
            o.features,
            o.feature_form,
        ]
        content = list(self._import_content.values())
        return self.cache.folder("import", name, content, weights, dict(o.model_args), o.mean, o.std, o.size)

    @functools.cached_property
    def _import_content(self) -> dict[Path, str]:
        """Hex sha256 of every file that the import reads."""
        return self._read_content()

    def _read_content(self) -> dict[Path, str]:
        o = self.options
        files = list(model_files(o.model))
        if o.checkpoint is not None:
            files.append(require_file(o.checkpoint, "the checkpoint"))
        if o.pretrained and not files:
            from lampq_tvm.frontend.pretrained import pretrained_file

            files.append(pretrained_file(o.model))
        return {path: file_digest(path) for path in files}

    def _import(self) -> ImportedModel:
        from lampq_tvm.frontend.load import load_model

        o = self.options
        with torch_alone(), one_thread():
            found = load_model(
                o.model,
                checkpoint=o.checkpoint,
                pretrained=o.pretrained,
                model_args=dict(o.model_args),
                trust_model=o.trust_model,
                seed=o.seed,
                mean=o.mean,
                std=o.std,
                size=o.size,
                strict_integer=o.strict_integer,
                features=o.features,
                feature_form=o.feature_form,
            )
        before, after = self._import_content, self._read_content()
        if after != before:
            changed = next(path for path in [*after, *before] if after.get(path) != before.get(path))
            raise UsageError("the file changed while it was read", where=str(changed), hint=CHANGED_HINT)
        return found

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
        return digest(ops, m.outputs, dataclasses.asdict(m.input), m.weights, *tensors)

    @functools.cached_property
    def data(self) -> Dataset:
        """All images; calibration and sensitivity draw theirs from them."""
        o, model = self.options, self.model
        if o.data is not None:
            classes = class_count(model) if model.has_classifier and model.weights == "trained" else None
            how = self._reading(o.data)
            data = open_dataset(o.data, model.input, classes=classes, labels_used=self.labels_used, how=how)
            if self.labels_used and not data.has_labels and o.drop is None:
                note("no labels: sensitivity draws them from the model, and accuracy does not refine the plan")
            return data
        if model.weights == "trained":
            hint = "give --data, a folder of class folders or an .npz"
            raise UsageError("calibration needs images", where=o.model, hint=hint)
        count, spec = max(o.calib_images, o.sens_images), model.input
        images = np.random.default_rng(o.seed).integers(0, 256, (count, spec.height, spec.width, spec.channels), np.uint8)
        return Dataset(Path("random images"), spec, np.zeros(count, np.int64), images=images)

    @property
    def labels_used(self) -> bool:
        """Whether what the images show decides anything: a plan of 8 bits or of float16 throughout does not ask."""
        o, model = self.options, self.model
        fixed = o.is_uniform16 or (o.is_uniform8 and o.latency_table is None)
        return o.drop is not None or (model.has_classifier and model.weights == "trained" and not fixed)

    @functools.cached_property
    def calib_data(self) -> Dataset:
        """The images of calibration."""
        return self.data.sample(self.options.calib_images, self.options.seed)

    @functools.cached_property
    def sens_data(self) -> Dataset:
        """The images of sensitivity, by which plans are chosen."""
        return self.data.sample(self.options.sens_images, self.options.seed)

    @functools.cached_property
    def judging_pool(self) -> Dataset:
        """Where the images come from that judge `--max-drop`."""
        o, model = self.options, self.model
        if o.val_data is None:
            return self.data
        return open_dataset(o.val_data, model.input, classes=class_count(model), how=self._reading(o.val_data))

    def _reading(self, path: Path) -> Reading:
        """How one of the sources is read: an order of classes is meant for the folders among them."""
        o = self.options
        folders = [p for p in (o.data, o.val_data) if p is not None and p.suffix.lower() != ".npz"]
        return o.reading if path in folders or not folders else Reading(skip_broken=o.skip_broken)

    @functools.cached_property
    def held_back(self) -> Dataset:
        """The images that judge `--max-drop`: none of them calibrated or chose anything."""
        from lampq_tvm.allocate.paired import least_images
        from lampq_tvm.api.held_back import held_back

        o = self.options
        assert o.drop is not None
        count = o.val_images or max(JUDGED_LEAST, JUDGED * least_images(o.drop.points))
        return held_back(self.judging_pool, (self.calib_data, self.sens_data), count, o.seed)

    @functools.cached_property
    def calibration_folder(self) -> Path:
        """Where calibration at every width lies."""
        method = self.options.method.calibration_key(self.model)
        return self.cache.folder("calibrate", self.model_digest, self.calib_data.fingerprint, self.options.seed, method)

    @property
    def calibration_key(self) -> str:
        """What calibration depends on, its sources and libraries included: part of the key of every stage behind it."""
        return self.calibration_folder.name

    @functools.cached_property
    def calibration(self) -> Calibration:
        """Quantizers of every layer at every width."""
        return self.calibrated_at(self.calibration_folder, WIDTHS)

    def warn_of_images(self) -> None:
        """Say what is odd about the calibration images; random ones for random weights mean nothing anyhow."""
        if self.options.data is None or self._images_told:
            return
        from lampq_tvm.calibrate.novelty import ENOUGH, poor_images

        self._images_told = True
        images, _ = next(self.calib_data.batches(ENOUGH))
        for line in poor_images(images):
            note(f"warning: {line}")

    def _warn_of_saturation(self, calibration: Calibration) -> None:
        """Say where images that calibration did not see leave its ranges."""
        from lampq_tvm.calibrate.doubts import saturation

        count, rest = len(self.calib_data), len(self.data) - 1
        more = self.data.sample(min(count + HELD_BACK, rest), self.options.seed)
        held_back, _ = next(more.batches(HELD_BACK, count), (None, None))
        line = None if self.options.data is None or held_back is None else saturation(calibration, held_back)
        if line is not None:
            note(f"warning: {line}")

    def calibrated_at(self, folder: Path, widths: tuple[int, ...]) -> Calibration:
        """Calibration at some widths; what the images showed is a unit of work that all widths share."""

        def compute() -> Calibration:
            from lampq_tvm.calibrate.fit import calibrate

            o, data, units = self.options, self.calib_data, Units(self.calibration_folder / "units")
            found = calibrate(
                self.model, data, units=units, recipe=o.method, widths=widths, seed=o.seed, count=len(data), jobs=o.jobs
            )
            check_unchanged(data, units)
            return found

        def save(path: Path, found: Calibration) -> None:
            found.save(path)

        found = self.cache.get(folder, "calibration.st", Calibration.load, compute, save, self.calibration_folder)
        self._warn_of_saturation(found)
        return found

    def refitted(self, plan: BitPlan, calibration: Calibration | None = None) -> Calibration:
        """Calibration for one plan: its weights fitted once more where the recipe says so.

        Args:
            calibration: at the plan's widths at least; at all widths where None.
        """
        options, folder = self.options.method.refit, self.refit_folder(plan)
        calibration = calibration or self.calibration
        if options is None or folder is None:
            return calibration

        def compute() -> Calibration:
            from lampq_tvm.calibrate.refit import refit

            data, units = self.calib_data, Units(folder / "units")
            with scratch("refit") as place:
                found = refit(
                    calibration, plan, data, options, units=units, folder=Path(place) / "images", jobs=self.options.jobs
                )
            check_unchanged(data, units)
            return found.only(plan)

        def save(path: Path, found: Calibration) -> None:
            found.save(path)

        return self.cache.get(folder, "calibration.st", Calibration.load, compute, save, folder)

    def refit_folder(self, plan: BitPlan) -> Path | None:
        """Where calibration for a plan lies; None where its weights are not fitted once more."""
        options = self.options.method.refit
        if options is None or all(row.w_bits > options.widest_bits for row in plan.layers):
            return None
        widths = [[row.w_bits, row.a_bits] for row in plan.layers]
        return self.cache.folder("refit", self.calibration_key, widths, options.model_dump())

    def refit_key(self, plan: BitPlan) -> str:
        """What `refitted` depends on, its sources and libraries included."""
        folder = self.refit_folder(plan)
        return self.calibration_key if folder is None else folder.name

    @property
    def sensitivity_key(self) -> tuple[str, ...]:
        """What sensitivity's result depends on."""
        pairs = (self.pairing.mode, str(self.pairing.a_bits))
        method = self.options.method
        measured = digest(method.metric.model_dump(), *(["interactions"] if method.interactions else []))
        return (self.calibration_key, self.sens_data.fingerprint, measured, *pairs)

    @functools.cached_property
    def pairing(self) -> Pairing:
        """The pairs of widths that a plan may take."""
        from lampq_tvm.allocate.problem import choose_pairing

        return choose_pairing(self.sees_activations, self.options.parsed_budgets, self.tied, self.options.a_bits)

    @property
    def sees_activations(self) -> bool:
        """Whether the metric depends on the width of activations."""
        from lampq_tvm.sensitivity.metric import METRICS

        return METRICS[self.options.method.metric.name].sees_activations

    @property
    def tied(self) -> bool | None:
        """Whether activations take the weights' width; None: as metric and budgets ask."""
        return {"auto": None, "tied": True, "separate": False}[self.options.method.pairs]

    @functools.cached_property
    def sensitivity(self) -> Sensitivity:
        """What each layer's bits are worth."""

        def compute() -> Sensitivity:
            from lampq_tvm.sensitivity.measure import sensitivity

            o, data, units = self.options, self.sens_data, Units(folder / "units")
            batches = data.__iter__  # called once per pass
            found = sensitivity(
                self.calibration,
                batches,
                metric=o.method.metric,
                units=units,
                pairs=self.pairing,
                jobs=o.jobs,
                interactions=o.method.interactions,
            )
            check_unchanged(data, units)
            return found

        folder = self.cache.folder("sensitivity", *self.sensitivity_key)
        return self.cache.file(folder, "sensitivity.st", Sensitivity, compute)

    @functools.cached_property
    def attention_sensitivity(self) -> Sensitivity:
        """What bits of the attentions' operands are worth."""
        o, data = self.options, self.sens_data
        softmax = {b: o.method.probabilities_by_attention(self.model, b) for b in WIDTHS}
        folder = self.cache.folder("sensitivity", "attention", self.calibration_key, data.fingerprint, softmax)

        def compute() -> Sensitivity:
            from lampq_tvm.sensitivity.attentions import attention_losses

            units = Units(folder / "units")
            found = attention_losses(self.calibration, data.__iter__, softmax=softmax, units=units, jobs=o.jobs)
            check_unchanged(data, units)
            return found

        return self.cache.file(folder, "sensitivity.st", Sensitivity, compute)

    @functools.cached_property
    def given_table(self) -> LatencyTable | None:
        """The latency table that the request names."""
        path = self.options.latency_table
        if path is None:
            return None
        table = LatencyTable.load(require_file(path, "the latency table"))
        note_other_times(table, self.options)
        return table


def check_unchanged(data: Dataset, units: Units | None = None) -> None:
    """Refuse what was worked out from images that are not those of the key any more.

    Args:
        data: its fingerprint was taken before the work.
        units: of the work; they go, since some may come from other images.

    Raises:
        UsageError: an image's file was changed meanwhile.
    """
    if data.files and dataclasses.replace(data).fingerprint != data.fingerprint:
        if units is not None:
            units.clear()
        raise UsageError("its images changed while they were read", where=str(data.path), hint=CHANGED_HINT)


def class_count(model: ImportedModel) -> int:
    """Number of a classifier's classes: the numbers that it gives for an image."""
    return model.shapes[model.output][-1]
