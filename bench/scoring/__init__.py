"""Error counts per utterance, rates per corpus, and the table of every metric."""

from bench.scoring.metrics import METRICS, Metric
from bench.scoring.score import Totals, UtteranceScore, score, totals

__all__ = ["METRICS", "Metric", "Totals", "UtteranceScore", "score", "totals"]
