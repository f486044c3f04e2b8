"""What a metric is called in MLflow, whose pages group charts by what stands before the last slash.

Six groups: ``train/`` and ``valid/`` are curves; ``best/``, ``test/``, ``cost/`` and ``run/`` (with
``final/``) are one value a run. Records keep their own names.
"""

COSTS = frozenset(
    {
        "num_parameters",
        "macs_per_second_of_audio",
        "audio_seconds_per_second",
        "peak_memory_bytes",
        "train_seconds",
        "search_seconds",
    }
)


def metric_name(name: str) -> str:
    """The name in MLflow of the metric that a record or a comparison calls `name`.

    ``best/valid/wer`` becomes ``best/valid_wer``: else ``best/valid`` would be a group of its own.
    """
    group, separator, rest = name.partition("/")
    if separator:
        return f"{group}/{rest.replace('/', '_')}"
    if name in COSTS:
        return f"cost/{name}"
    if name.startswith(("wer_", "cer_")):
        return f"test/{name}"  # rates of a comparison are of the test split
    return f"train/{name}" if name == "epoch" else f"run/{name}"
