"""Who runs what: the slots of a study in an Optuna storage, and the leases on run folders."""
