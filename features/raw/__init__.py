"""Raw rows: read, completed, conformed to the types that training saw."""
