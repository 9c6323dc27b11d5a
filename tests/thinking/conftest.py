"""One thread, as runs have: others wait for each other on a busy machine, longer than these tests compute."""

import torch

torch.set_num_threads(1)
