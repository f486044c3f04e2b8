"""Comparisons of recorded runs: tables, statistics, the report's input."""
