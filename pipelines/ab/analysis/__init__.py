"""From the log of a test to one decision and its reasons."""
