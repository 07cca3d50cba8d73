"""How an interval is made, and when the normal one may be taken."""
