"""A study: spaces and budgets, the queue of slots, workers, the launcher; the only place that
imports optuna."""
