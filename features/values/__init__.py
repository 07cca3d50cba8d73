"""Values and their types: text, ids, lengths of time, SQL."""
