"""What python -m bench.speed stores: costs of a variant, and with --latency of a confirm run."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BaselineSpeed:
    """The rate of a baseline that trained alternately with the training loop."""

    audio_seconds_per_second: float
    """Median over the rounds."""
    ratio: float
    """The loop's rate divided by the baseline's within a round: median over the rounds."""
    ratio_low: float
    """Minimum over the rounds."""
    ratio_high: float
    """Maximum over the rounds."""


@dataclass(frozen=True, kw_only=True)
class SpeedRow:
    """One measurement of `python -m bench.speed`: a variant at one width on one device.

    Rates are seconds of audio per second. None where there is no baseline or only one worker.
    """

    variant: str
    width: int
    device: str
    """A torch device type."""
    utterance_seconds: float
    """Mean duration of the training utterances."""
    batch_seconds: float
    """Maximum audio in a batch, including padding."""
    audio_seconds_per_second: float
    """Training steps and logging, on a CPU with one thread. Evaluations and checkpoints are in
    `overhead_share` instead, since the baselines have none."""
    family: BaselineSpeed | None
    """The DeepSpeech repositories' way of training, see bench.costs.baselines."""
    torch_baseline: BaselineSpeed | None
    """A short script with torch's own layers, see bench.costs.baselines."""
    macs_per_second_of_audio: float
    """Multiply-adds of the forward pass."""
    training_macs_per_second_of_audio: float
    """Multiply-adds of forward and backward pass, for all views of an utterance."""
    matmul_flops_per_second: float
    """The peak: the fastest matrix product in the same run."""
    fraction_of_matmul_peak: float
    """FLOP of training (two per multiply-add, without padding) per second, divided by the peak."""
    recurrent_fraction_of_matmul_peak: float | None
    """Of the recurrent layers alone, forward and backward, on a batch of median shape; None if the
    network has no RecurrentLayer."""
    shares: Mapping[str, float]
    """Of the time of whole epochs, by phase (bench.training.clocks, with "logging" for "report").
    Checkpoints have a larger share than in a run on the whole corpus, whose epochs are longer."""
    data_wait_share: float
    overhead_share: float
    """Evaluation, logging and checkpoints together."""
    padding_share: float
    """Of the frames trained on."""
    peak_memory_bytes: int
    """Of a process that trains only this network, with one thread; on a GPU as torch allocates."""
    latency_seconds: float
    """Median time to recognise one utterance."""
    real_time_factor: float
    """Seconds of recognition per second of audio, one utterance at a time."""
    num_workers: int
    """One per core; on a GPU several that share it."""
    workers_audio_seconds_per_second: float | None
    """All workers together, each with one thread."""
    one_worker_audio_seconds_per_second: float | None
    """One worker with all cores as threads, or alone on the GPU."""
    workers_ratio: float | None
    """All workers together divided by one worker."""
    features_audio_seconds_per_second: float
    """Reading, transforming and storing the features, on all cores."""
    workers_share_by_mps: bool
    """Whether workers on a GPU compute at the same time; else they take turns."""
    latency_floor_share: float | None
    """Time of a step if only the order of frames kept the recurrent layers, divided by its time;
    see bench.costs.timings.latency_floor_seconds. 1 is as fast as latency allows."""
    joules_per_audio_hour: float | None
    """Of the GPU while the loop trains, by NVML."""

    @property
    def conditions(self) -> tuple[str, float, float]:
        """Rows are comparable across variants and widths if their conditions are equal."""
        return self.device, self.utterance_seconds, self.batch_seconds


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
    """From the end of the last word until it is final: median. A network that cannot stream is
    given the end of the utterance, a stream has to detect it."""
    unstable_share: float
    """Of the words of all texts that were shown, those that the last text has otherwise."""
