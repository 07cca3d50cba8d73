"""The prepared data set: made from raw files, and opened again."""
