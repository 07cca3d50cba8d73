"""From trained weights to a registered model."""
