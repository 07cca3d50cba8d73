"""Trunks and weightings; the families are imported first, as they import their members."""

import fulcrum.models.trunks
import fulcrum.models.weightings  # noqa: F401
