"""Two ways to draw that the generator needs often."""

from collections.abc import Mapping

import numpy as np

from digit.synth.arrays import Rng


def log_uniform(
    rng: Rng,
    low: float,
    high: float,
) -> float:
    """A number between two others whose logarithm is uniform."""
    return np.exp(rng.uniform(np.log(low), np.log(high)))


def choose(rng: Rng, shares: Mapping[str, float]) -> str:
    """One of several names, each as likely as its share; the shares add up to 1."""
    return str(rng.choice(list(shares), p=list(shares.values())))
