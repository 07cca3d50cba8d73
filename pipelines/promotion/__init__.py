"""The gate between a registered version and `@champion`."""
