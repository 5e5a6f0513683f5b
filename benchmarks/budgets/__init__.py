"""Budgets: how many parameters a method may train, and the size of a method that meets one."""

from inarch_benchmarks.budgets.budget import Budget, parameters_of, parameters_without_head
from inarch_benchmarks.budgets.solve import TOLERANCE, Fitted, counted, fit

__all__ = ["TOLERANCE", "Budget", "Fitted", "counted", "fit", "parameters_of", "parameters_without_head"]
