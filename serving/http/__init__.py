"""The online scorer over HTTP."""
