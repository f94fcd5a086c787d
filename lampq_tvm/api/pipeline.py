"""The straight road from a model's name to a plan and an integer network."""

from __future__ import annotations

import fnmatch
import functools
from pathlib import Path

import numpy as np

from lampq_tvm.api.checks import check_output, require_file
from lampq_tvm.api.methods import check_covers, note_other_recipe, signed
from lampq_tvm.api.options import Options
from lampq_tvm.api.stages import Stages
from lampq_tvm.bitplan import BitPlan, uniform_plan
from lampq_tvm.calibrate.calibration import WIDTHS, Calibration
from lampq_tvm.errors import UnsupportedError, UsageError
from lampq_tvm.kinds import PLAN_FLOAT_BITS, of_width
from lampq_tvm.latency.table import LatencyTable
from lampq_tvm.lower.cuda.support import check_cuda_attention, check_cuda_model
from lampq_tvm.quantize.model import QuantizedModel
from lampq_tvm.sensitivity.table import Sensitivity


class Pipeline(Stages):
    """One request, from its model to its integer network.

    Args:
        options: the request.
        plan_file: a plan made before, which takes the place of sensitivity and solver.
    """

    def __init__(self, options: Options, plan_file: Path | None = None) -> None:
        super().__init__(options)
        self.plan_file = plan_file

    @property
    def labels_used(self) -> bool:
        """Whether what the images show decides anything: a plan made before does not ask, unless they judge it."""
        o = self.options
        return super().labels_used if self.plan_file is None else o.drop is not None and o.val_data is None

    def check(self, output: Path | None = None) -> None:
        """Everything that can be refused before long work, in the order model, target, files, output, budget.

        Raises:
            LampqError: the first thing that is wrong.
        """
        _ = self.covered
        if self.target.board is not None and self.target.kind == "cuda":
            board = self.target.board
            check_cuda_model(self.model, self.target.name, f"{board.name}:cpu" if board.cpu else None)
        max(self.calib_data, self.sens_data, key=len).verify()
        _ = self.given_plan
        _ = self.given_table
        if output is not None:
            check_output(output)
        _ = self.floats
        if self.target.kind == "cuda":
            check_cuda_attention(self.model, self.target.isa, half="attention" in self.floats)
        if self.plan_file is None and not self.options.is_uniform16:
            self.check_budgets()
        if self.options.drop is not None:
            from lampq_tvm.api.judging import check_judgeable

            check_judgeable(self)
        self.warn_of_images()

    @functools.cached_property
    def covered(self) -> bool:
        """That the recipe gives every layer its quantizers; looked at once, however often a request is checked.

        Raises:
            UsageError: it does not.
        """
        check_covers(self.options.method, self.model)
        return True

    @functools.cached_property
    def plan_calibration(self) -> Calibration:
        """Quantizers at the plan's widths, at least.

        A plan of 8 bits throughout takes few of them, and its weights are rounded one by one, so no other width is fitted for
        it; below that, roundings make up for each other across all widths at once.
        """
        narrow = self._narrow_calibration
        return self.calibration if narrow is None else self.calibrated_at(*narrow)

    @property
    def network_calibration(self) -> Path:
        """Where the calibration lies that the integer network is made from."""
        narrow = self._narrow_calibration
        return self.refit_folder(self.plan) or (self.calibration_folder if narrow is None else narrow[0])

    @functools.cached_property
    def _narrow_calibration(self) -> tuple[Path, tuple[int, ...]] | None:
        """Folder and widths of a calibration at the plan's widths alone; None: that of all widths serves."""
        if "calibration" in vars(self) or (self.calibration_folder / "calibration.st").exists():
            return None
        if any((row.w_bits, row.a_bits) != (8, 8) and not row.is_float for row in self.plan.layers):
            return None
        widths = tuple(sorted({8, *(min(8, bits) for bits in self.plan.attention_widths)}))
        return self.cache.folder("calibrate", self.calibration_key, widths), widths

    @functools.cached_property
    def table(self) -> LatencyTable | None:
        """Latencies: those given, else measured where a device is named, else estimates where they are allowed."""
        o = self.options
        needed = any(b.needs_latency for b in o.parsed_budgets)
        if self.given_table is not None or not needed or (o.device is None and not o.allow_estimates):
            return self.given_table
        from lampq_tvm.api.latencies import measured_table

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
        free = np.zeros((len(names), len(WIDTHS), len(WIDTHS)))
        nothing = Sensitivity(o.method.metric.name, self.sees_activations, names, WIDTHS, free)
        table, estimates = self.given_table, o.allow_estimates
        half, floats = self.target.kind == "cuda", self.floats
        allocate(
            self.model, nothing, budgets, latency=table, tied=self.tied, a_bits=o.a_bits, allow_estimates=estimates,
            floats=floats, half=half, held=o.method.held,
        )  # fmt: skip

    @functools.cached_property
    def floats(self) -> tuple[str, ...]:
        """What is known to stay float16 before a plan is worked out: names of layers, and `attention`.

        Raises:
            UsageError: a pattern of `--float-layers` names no layer.
        """
        o = self.options
        if self.given_plan is not None:
            return self.given_plan.floats
        if o.is_uniform16:
            return self.plan.floats
        names = [layer.name for layer in self.model.layers]
        for pattern in o.float_layers:
            if not fnmatch.filter(names, pattern):
                near = ", ".join(names[:3])
                raise UsageError(f"no layer is called {pattern!r}", where="--float-layers", hint=f"there are {near}, ...")
        found = tuple(name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in o.float_layers))
        return (*found, "attention") if of_width(o.attention_bits).is_float else found

    def check_floats(self) -> None:
        """Refuse layers that the target cannot compute, as far as they are known.

        Raises:
            UnsupportedError: float16 layers for a target without kernels for them.
        """
        if self.floats and self.target.kind != "cuda":
            what = f"{self.floats[0]} stays float16, and float layers run on CUDA targets only"
            raise UnsupportedError(what, where=self.target.name, hint="give it 8 bits or fewer, or compile for a GPU")

    @functools.cached_property
    def given_plan(self) -> BitPlan | None:
        """The plan of the file that was given."""
        if self.plan_file is None:
            return None
        plan = BitPlan.load(require_file(self.plan_file, "the plan"))
        plan.check_fits(self.model, str(self.plan_file))
        note_other_recipe(plan, self.options, self.model)
        return plan

    @functools.cached_property
    def plan(self) -> BitPlan:
        """The widths: read from the file that was given (and judged, where a drop is promised), else worked out."""
        o = self.options
        if self.given_plan is not None:
            if o.drop is None:
                return self.given_plan
            from lampq_tvm.api.solving import kept_within_drop

            return kept_within_drop(self, self.given_plan)
        return signed(self._worked_out_plan(), o, self.model)

    def _worked_out_plan(self) -> BitPlan:
        """The widths that the budgets ask for."""
        o = self.options
        if (o.is_uniform8 and self.given_table is None) or o.is_uniform16:
            if o.is_uniform16:
                softmax = o.method.probabilities(self.model, PLAN_FLOAT_BITS)
                plan = uniform_plan(self.model, PLAN_FLOAT_BITS, PLAN_FLOAT_BITS, PLAN_FLOAT_BITS, softmax)
            else:
                from lampq_tvm.api.solving import attention_choice

                plan = uniform_plan(self.model, 8, 8, *attention_choice(self))
            plan = plan if o.is_uniform16 else plan.with_floats(self.floats)
            return plan.model_copy(update={"budgets": tuple(b.text for b in o.parsed_budgets)})
        from lampq_tvm.api.solving import solved

        return solved(self, self.table, self.floats)

    @functools.cached_property
    def quantized_folder(self) -> Path:
        """Where the integer network lies; its name stands for all that the network depends on, its own sources included."""
        return self.cache.folder("quantize", self.refit_key(self.plan), self.plan.model_dump())

    @functools.cached_property
    def quantized(self) -> QuantizedModel:
        """The integer network."""

        def compute() -> QuantizedModel:
            from lampq_tvm.quantize.build import quantize

            return quantize(self.refitted(self.plan, self.plan_calibration).only(self.plan), self.plan)

        return self.cache.file(self.quantized_folder, "quantized.st", QuantizedModel, compute)
