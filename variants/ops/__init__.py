"""What computes: the compiled CPU kernel with its callers, and torch as reference."""
