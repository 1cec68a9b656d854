"""One thread for the small tensors of these tests: threads that wait for each other cost more than they compute."""

import torch

torch.set_num_threads(1)
