"""What would mislead: one check a file, each with what follows from it."""
