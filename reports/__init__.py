"""The report of a study: a `ReportInput` of typed values and tables in, one HTML file out."""
