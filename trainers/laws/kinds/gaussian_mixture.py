"""The Gaussian mixture: equal weights on normals of one width, their centres drawn once."""

from __future__ import annotations

from typing import ClassVar, Literal

from trainers.laws.law import Distribution, LawBase, Points, parameter_stream
from trainers.laws.mixture import MixtureOfNormals
from trainers.ranges import Scale, Seed, Size


class GaussianMixture(LawBase):
    """sum_c N(mu_c, std^2 I) / components; mu_c uniform on [-1, 1]^d, drawn once from `seed`."""

    sub_gaussian: ClassVar[str] = "finitely many Gaussians"
    kind: Literal["gaussian_mixture"] = "gaussian_mixture"
    components: Size = 8
    std: Scale = 0.1
    seed: Seed = 0

    @property
    def terms(self) -> int:
        return self.components

    @property
    def held_values(self) -> int:
        # points and their squares, lifted and as drawn, and a block of weights
        return self.components * (2 * self.dimension + 3)

    def distribution(self, points: Points) -> Distribution:
        shape = (self.components, self.dimension)
        return MixtureOfNormals(parameter_stream(self).uniform(-1, 1, shape), self.std)
