"""From the points that were asked to all inputs like them: one-sided confidence bounds on scores.

Taken for granted is that the agreement points are a random sample of the inputs that matter: data in random
order, for which nobody picked points or members by their scores.

*Mutual error* of a pair is the share of successes of independent trials: the exact bound of Clopper and
Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the binomial".

*Uniqueness* of one of n members is 1 - a mean of m independent numbers in [0, 1], at each point the share of
the n - 1 others that err together with it. Its bound inverts the smaller of two bounds on the tail of such a
mean: Hoeffding's (1963, theorem 1) exp(-m KL(mean || mu)), and Bentkus' (2004) e P(Binomial(m, mu) <=
ceil(m mean)); as Bates et al. (2021), "Distribution-free, risk-controlling prediction sets". With one other
member the numbers are 0 or 1, and the exact bound is used. (A union bound over the pairs' exact bounds would
be valid too, and is wider.)

A gate over all pairs, or all members, needs no correction for their number: it passes only if every bound
holds, so whichever score truly violates it has a bound that lies beyond the threshold with the confidence
asked for (an intersection-union test, Berger 1982).

scipy is imported when a bound is first asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_ensemble.analysis.scores import Interval

__all__ = ["Sample", "highest_mean", "highest_share", "points_needed"]

_STEPS = 60  # of bisections: to the last bits of a float64


@dataclass(frozen=True)
class Sample:
    """How much stands behind a score.

    Attributes:
        points: number of agreement points.
        others: number of members that each is compared with.
    """

    points: int
    others: int

    def mutual_error(self, score: Interval, confidence: float) -> Interval:
        """The score of a pair, its worst end moved to where the true one may be at this confidence."""
        errors = round(score.high * self.points)
        return Interval(score.low, max(score.high, highest_share(errors, self.points, confidence)))

    def uniqueness(self, score: Interval, confidence: float) -> Interval:
        """As `mutual_error`, for the score of a member."""
        errors = round((1 - score.low) * self.points * self.others)
        worst = 1 - highest_mean(errors, self.others, self.points, confidence)
        return Interval(min(score.low, worst), score.high)


def highest_share(errors: int, points: int, confidence: float) -> float:
    """Upper bound on a probability of which `errors` successes were seen in `points` trials."""
    from scipy.special import betaincinv  # scipy.stats takes three times as long to import

    if errors >= points:
        return 1.0
    return float(betaincinv(errors + 1, points - errors, confidence))


def highest_mean(errors: int, others: int, points: int, confidence: float) -> float:
    """Upper bound on the mean of numbers k / `others`, k = 0 .. others, of which `points` add up to
    errors / others.
    """
    from scipy.special import bdtr

    if others == 1:
        return highest_share(errors, points, confidence)
    mean, most = errors / (others * points), -(-errors // others)

    def likely(mu: float) -> bool:
        """Whether a mean as low as this has a chance above 1 - confidence if the true one is mu."""
        tail = math.exp(-points * _divergence(mean, mu))
        tail = min(tail, math.e * float(bdtr(most, points, mu)))
        return tail > 1 - confidence

    low, high = mean, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if likely(middle) else (low, middle)
    return high


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of Bernoulli(p) from Bernoulli(q), p <= q."""
    if q >= 1:
        return 0.0 if p >= 1 else math.inf
    first = p * math.log(p / q) if p > 0 else 0.0
    return max(0.0, first + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0))


def points_needed(allowed: float, confidence: float, expected: float = 0.0, others: int = 1) -> int:
    """About how many points it takes for a mutual error of `expected` to pass a threshold of `allowed`.

    Without any error that is ln(1 - confidence) / ln(1 - allowed), rounded up: 59 points for 0.05 at 95 %,
    "3 / allowed" as a rule of thumb. Each error that is seen takes more.

    Args:
        others: for a uniqueness of 1 - allowed, how many other members there are; its mean has another bound.

    Raises:
        ValueError: not 0 <= expected < allowed < 1, or not 0 < confidence < 1.
    """
    if not 0 <= expected < allowed < 1 or not 0 < confidence < 1:
        raise ValueError("points_needed needs 0 <= expected < allowed < 1 and 0 < confidence < 1.")

    def enough(points: int) -> bool:
        errors = math.ceil(expected * points * others - 1e-9)
        return highest_mean(errors, others, points, confidence) <= allowed

    high = max(1, math.ceil(math.log(1 - confidence) / math.log1p(-allowed) - 1e-9))
    if not enough(high):
        while not enough(high):
            high *= 2
        low = high // 2  # not enough
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
    return high
