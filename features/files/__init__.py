"""Files as one table: which there are, how they are written, and which types hold their values."""
