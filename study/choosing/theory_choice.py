"""The theory-guided choice: width, step size and stopping time without a search.

| symbol   | name             | from                                                             |
|----------|------------------|------------------------------------------------------------------|
| c        | constant         | one pilot N: best eta tau / N^((d+2)/(d+3)), see `stopping`      |
| eta      | step_size        | half the largest stable one, 2 N / lambda_max(K), of the pilots  |
| eta tau  | effective_time   | c N^((d+2)/(d+3)): docs/theory.md, section 6, rule 5             |
| m        | width            | the power of two at or above eta tau N^(2/(d+3)) and 23.3 d      |

The width: along gradient flow d/dt ||W - W(0)|| <= ||grad L|| and dL/dt = -||grad L||^2, so
||W(t) - W(0)||^2 <= t (L(0) - L(t)) with t = eta tau. The distance of network and kernel is of the
order of that squared movement over m (coupling falls as 1/m), relative to L(0) at most eta tau / m.
The rule makes it the relative error N^(-2/(d+3)) that theory promises at N. It fixes an order, not
a constant: the constant is taken as 1 (docs/theory.md, section 6).

The floor: the largest stable step size is that of the kernel limit. At width m half of the neurons
are active at a point, in pairs with one read-out up to its sign. The Gram matrix of those m/4
read-outs, a multiple of the identity in the limit, has a largest eigenvalue that tends to
(1 + (4d/m)^(1/2))^2 times that (Marchenko and Pastur 1967, A of random signs). Half the kernel's
step size is stable where that is below 2: m > 4d / (2^(1/2) - 1)^2. Over many points, at which
other neurons are active, the largest eigenvalue is less: the floor is on the safe side.

Nothing here uses the truth: the pilots' best times are those of their held-out loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainers.stopping import time_exponent

STABLE_WIDTH = 4 * (math.sqrt(2) - 1) ** -2
"""Neurons for each dimension at which half the kernel's largest step size is stable."""

RECORDED_BEYOND = 8
"""Trained to this multiple of the chosen time, so that the other stopping rules find theirs."""


@dataclass(frozen=True)
class Choice:
    """Theory's choice at N: training stops at `stop_step`; rules may look as far as `steps`."""

    width: int
    step_size: float
    effective_time: float
    stop_step: int
    steps: int


def guided_choice(
    samples: int, dimension: int, constant: float, largest_step_size: float
) -> Choice:
    """The choice at N = samples in dimension d. Raises ValueError unless the constant and the
    largest stable step size are positive."""
    if not (constant > 0 and largest_step_size > 0):
        raise ValueError("the theory-guided choice needs a positive constant and step size")
    time = constant * samples ** time_exponent(dimension)
    wanted = max(time * samples ** (2 / (dimension + 3)), STABLE_WIDTH * dimension)
    width = 2 ** math.ceil(math.log2(wanted) - 1e-9)
    step_size = largest_step_size / 2
    stop = max(1, round(time / step_size))
    return Choice(width, step_size, time, stop, RECORDED_BEYOND * stop)
