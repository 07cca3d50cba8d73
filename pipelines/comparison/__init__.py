"""Several networks on the same rows."""
