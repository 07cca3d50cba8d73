"""The embedding tables in training: what memory they may take, and where they lie."""
