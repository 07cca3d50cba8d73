"""Raw rows to scores, in files and in memory."""
