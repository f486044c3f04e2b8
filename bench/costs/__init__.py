"""The cost of training and recognition, measured by `python -m bench.speed`."""
