"""What came before a row."""
