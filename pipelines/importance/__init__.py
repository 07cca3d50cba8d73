"""Which feature serves which task."""
