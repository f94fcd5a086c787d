"""What a person asks for, whole: the options that the stages of a request read, checked when they are made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lampq_tvm.allocate.budget import DEFAULT as DEFAULT
from lampq_tvm.api.choosing import (
    BudgetOptions,
    CacheOptions,
    DropOptions,
    LatencyOptions,
    MethodOptions,
    SensitivityOptions,
    TrialOptions,
)
from lampq_tvm.api.groups import DataOptions, DeviceOptions, DrawOptions, JobOptions, ModelOptions, TargetOptions
from lampq_tvm.api.option import Group
from lampq_tvm.api.values import parse_model_args as parse_model_args


@dataclass(frozen=True, kw_only=True)
class Options(
    TargetOptions,
    DataOptions,
    ModelOptions,
    BudgetOptions,
    DropOptions,
    MethodOptions,
    DrawOptions,
    SensitivityOptions,
    DeviceOptions,
    LatencyOptions,
    TrialOptions,
    JobOptions,
    CacheOptions,
):
    """A request; its groups say what each option means."""

    @classmethod
    def of(cls, request: Group) -> Options:
        """Those of a verb that has some of the groups, the rest at their defaults."""
        names = {field.name for field in dataclasses.fields(cls)}
        given = {field.name: getattr(request, field.name) for field in dataclasses.fields(request) if field.name in names}
        return Options(**given)

    def check(self) -> None:
        """Without a budget, float layers leave the others at 8 bits, and so does asking for nothing."""
        if self.budgets is None:
            object.__setattr__(self, "budgets", () if self.float_layers else (DEFAULT,))

    def shown(self) -> dict[str, str]:
        """Every resolved option as text, for the table printed before work starts; the recipe's with what it comes to."""
        from lampq_tvm.api.methods import shown_recipe

        recipes_own = ("bits", "softmax", "metric", "alpha", "update", "interactions")
        return {name: text for name, text in super().shown().items() if name not in recipes_own} | shown_recipe(self)

    @property
    def is_uniform8(self) -> bool:
        """Whether the 8-bit plan is asked for and nothing else: no sensitivity is needed for it."""
        if self.float_layers and self.budgets:  # their 16 bits count
            return False
        return self._only_bits(8) and self.a_bits in (None, 8) and not self.method.hold

    @property
    def is_uniform16(self) -> bool:
        """Whether all of the model stays float16."""
        from lampq_tvm.kinds import PLAN_FLOAT_BITS

        return bool(self.budgets) and self._only_bits(PLAN_FLOAT_BITS) and self.a_bits is None

    def _only_bits(self, bits: int) -> bool:
        """Whether budgets are of bits alone, and none lies below `bits`."""
        wide = all(b.kind == "bits" and b.value >= bits and (b.a_value or bits) >= bits for b in self.parsed_budgets)
        return wide and self.max_drop is None
