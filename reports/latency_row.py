"""What python -m bench.speed --latency stores of a run."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """One measurement of `python -m bench.speed --latency`: a confirm run that recognises valid
    utterances one at a time. None where the run is the aligner itself."""

    study: str
    system: str
    run: str
    device: str
    """A torch device type; on a CPU one thread."""
    aligner: str
    """The run whose forced alignment says when words end."""
    chunk_ms: float
    """Audio given to a stream at a time."""
    endpoint_ms: float
    """Without a symbol, after which a text is final."""
    cannot_stream: str
    """Why the network waits for the end of the utterance; "" if it streams."""
    num_utterances: int
    num_words: int
    """Of the reference."""
    num_emissions: int
    """Words that were recognised, and so have an emission latency."""
    look_ahead_ms: float
    """The most audio, from the beginning of an output frame on, that the frame waits for; of a
    network that cannot stream the longest utterance."""
    mean_look_ahead_ms: float
    """Mean over output frames."""
    compute_p50_ms: float
    """Per chunk; of a network that cannot stream per utterance."""
    compute_p90_ms: float
    compute_p99_ms: float
    emission_p50_ms: float | None
    """From the end of a word to the output frame of its last symbol; below 0 if that is earlier."""
    emission_p90_ms: float | None
    user_perceived_ms: float | None
    """The mean look-ahead, and the medians of computing and emission: their sum."""
    finalisation_ms: float
    """From the end of the last word until it is final: median. A network that cannot stream is told
    the end of the utterance, a stream has to find it."""
    unstable_share: float
    """Of the words of all texts that were shown, those that the last text has otherwise."""
