"""Percentiles and their confidence intervals, by the bootstrap; the same data give the same figures."""
import math
import random

RESAMPLES = 2000
LEVEL = 0.95
P99_FROM = 500  # below so many episodes a 99th percentile says nothing


def quantile(values, q):
    """Linear interpolation between closest ranks."""
    v = sorted(values)
    if not v:
        raise ValueError("no values")
    at = (len(v) - 1) * q
    low = math.floor(at)
    high = min(low + 1, len(v) - 1)
    if v[low] == v[high] or at == low:
        return v[low]  # also where it is infinite
    return v[low] + (v[high] - v[low]) * (at - low)


def median(values):
    return quantile(values, 0.5)


def _interval(samples):
    tail = (1 - LEVEL) / 2
    return quantile(samples, tail), quantile(samples, 1 - tail)


def interval(values, of=median, resamples=RESAMPLES):
    """(low, high) of the statistic; None below five values, where a bootstrap pretends."""
    if len(values) < 5:
        return None
    dice = random.Random(len(values))
    return _interval([of(dice.choices(values, k=len(values))) for _ in range(resamples)])


def _over(a, b):
    return a / b if b else math.inf


def ratio(a, b, of=median, resamples=RESAMPLES):
    """of(a) / of(b) and its interval, None where one has fewer than five values; inf over nothing."""
    value = _over(of(a), of(b))
    if min(len(a), len(b)) < 5:
        return value, None
    dice = random.Random(len(a) * 1000 + len(b))
    return value, _interval([_over(of(dice.choices(a, k=len(a))), of(dice.choices(b, k=len(b))))
                             for _ in range(resamples)])


def summary(values):
    """{"n", "p50", "p50_low", "p50_high", "p95", "p99" (from P99_FROM values), "max"}"""
    out = {"n": len(values), "p50": median(values), "p95": quantile(values, 0.95), "max": max(values)}
    low_high = interval(values)
    if low_high:
        out["p50_low"], out["p50_high"] = low_high
    if len(values) >= P99_FROM:
        out["p99"] = quantile(values, 0.99)
    return out
