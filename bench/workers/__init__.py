"""Who computes: the launcher of a study, its worker processes, and what starts them."""
