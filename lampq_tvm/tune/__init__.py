"""Tuning: MetaSchedule with xgboost over this project's own schedules; every record passed the numeric gate."""
