"""The log of a test, as the analysis reads it."""
