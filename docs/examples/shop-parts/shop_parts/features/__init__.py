"""Kinds of feature; the family is imported first, as it imports its members."""

import fulcrum.features.kinds  # noqa: F401
