"""Whether scores are probabilities, and how they are made so."""
