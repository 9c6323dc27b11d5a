"""Random numbers that are a function of (seed, stream, step) and of nothing else.

Philox4x32-10 (J. Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011) in integer tensor operations:
no state to keep, no order to respect, the same bits on every engine and device. Held to the known answers that the
authors publish with Random123 (``tests/lanes/test_random.py``).

The key is the lane's seed; the counter is (block within the step, stream, step low, step high).
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
MASK = 0xFFFFFFFF

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    """Return the four words that Philox4x32-10 makes of a counter and a key.

    Parameters
    ----------
    counter, key
        int64 tensors that broadcast together, each element in [0, 2³²).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for number in range(ROUNDS):
        if number:
            k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
        # 64-bit products wrap to negative numbers; the masks after the shifts undo the sign.
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & MASK) ^ c1 ^ k0, p1 & MASK, ((p0 >> 32) & MASK) ^ c3 ^ k1, p0 & MASK
    return c0, c1, c2, c3


def uniform(seed: Tensor, step: Tensor, count: int, *, stream: int) -> Tensor:
    """Draw ``count`` uniform numbers per lane.

    Parameters
    ----------
    seed, step
        int64 (L,): each lane's seed and step, both not negative.
    count
        Numbers per lane; a constant of the program.
    stream
        Which of the experiment's streams, in [0, 2³²): numbers of different streams are independent.

    Returns
    -------
    Tensor
        float64 (count, L): (k + ½) · 2⁻³² for whole k. Scale them to a range first and round to float32 last: with
        multiples of 2⁻²⁴ a range around zero yields an exact zero, to divide by, every few million draws.
    """
    blocks = -(-count // 4)
    block = torch.arange(blocks, dtype=torch.int64, device=seed.device)[:, None]
    name = torch.full_like(block, stream)
    words = philox((block, name, step & MASK, step >> 32), (seed & MASK, seed >> 32))
    return (torch.cat([word.double() for word in words])[:count] + 0.5) * 2.0**-32
