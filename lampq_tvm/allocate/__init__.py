"""Sensitivity, latency and budgets meet in one integer program, whose answer is a BitPlan."""
