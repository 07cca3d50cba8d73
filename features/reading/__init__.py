"""A prepared data set as batches."""
