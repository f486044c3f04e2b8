"""From recorded runs to numbers that may be compared: tables, statistics, the report's input."""
