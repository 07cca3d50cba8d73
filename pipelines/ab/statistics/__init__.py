"""Statistics of tests whose unit is the user."""
