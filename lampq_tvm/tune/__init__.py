"""Tuning: MetaSchedule with xgboost over this project's own schedules; every record passed the numeric gate."""

from lampq_tvm.tune.run import tune

__all__ = ["tune"]
