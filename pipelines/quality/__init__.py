"""How good a network is: its scores, its experts."""
