import os

import torch

# Networks here are tiny: threads would only wait for each other, in child processes as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)
