"""A busy machine is no defect: Hypothesis without deadlines, and no threads that spin while others
wait for a core, here or in child processes."""

import os

# NumPy reads it when it is imported. Its threads spin for products as small as those of tests: two
# test processes on two cores spent 30 times the work on that.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from hypothesis import settings

settings.register_profile("fulcrum", deadline=None)
settings.load_profile("fulcrum")
