"""A busy machine is no defect: Hypothesis without deadlines, threads that wait without spinning."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

settings.register_profile("fulcrum", deadline=None)
settings.load_profile("fulcrum")
