"""A whole run, from raw files to a registered model."""
