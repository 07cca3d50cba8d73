"""What is timed, and against what limit."""
