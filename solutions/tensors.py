"""How arrays become tensors."""

import numpy as np
import torch
from torch import Tensor


def as_tensor(value) -> Tensor:
    """Return a tensor as it is, an array or a list as a copy: it may not be ours to
    write to.
    """
    return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
