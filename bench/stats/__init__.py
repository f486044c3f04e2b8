"""The mathematics of a comparison: arrays in, numbers out; imports nothing of ours."""
