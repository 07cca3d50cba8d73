"""Config, training, tracking and the command line."""
