"""Inner loops compiled by Numba, each for one sample. They release Python's lock, so threads can share a batch.

The loops process arrays in tiles of fixed size, which the compiler turns into vector instructions. It may reorder sums;
NaN and infinity are handled as usual.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hkdsr.losses.kernels_fsm import signed_means, similarity

__all__ = ["gated_distance", "signed_means", "similarity"]

FAST = {"reassoc", "contract", "nsz", "arcp"}
PIXELS = 512  # of one colour per tile, so that all arrays of a tile fit in the first-level cache
STEEPEST = 80.0  # a sigmoid of more is 1 within the precision of float64, of less it is 0
LN2_HIGH, LN2_LOW = 0.693359375, -2.1219444005469057e-4  # the first has few digits, so that products with it are exact


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def gated_distance(
    student, hr, teacher, w1, b1, w2, b2, grad_student, grad_w1, grad_b1, grad_w2, grad_b2, bits, powers
):
    """The sum of ``|S - F|`` over a sample, where F is G and T weighted by the gates of ACF, and its gradients.

    Args:
        student, hr, teacher: (3, N).
        w1, b1, w2, b2: weights and biases of both layers of the gate of each colour: (3, hidden, 2), (3, hidden),
            (3, 2, hidden) and (3, 2).
        grad_student: (3, N), overwritten by the gradient.
        grad_w1, grad_b1, grad_w2, grad_b2: shaped as the weights; their gradients are added to these.
        bits, powers: (PIXELS,), one memory as whole numbers and as numbers of the images' type; overwritten.

    Returns:
        The sum, a number.
    """
    real = student.dtype.type
    zero, one = real(0), real(1)
    colours, positions = student.shape
    hidden = w1.shape[1]
    first, second = np.empty(PIXELS, student.dtype), np.empty(PIXELS, student.dtype)
    shares = np.empty(PIXELS, student.dtype)
    total = 0.0
    for c in range(colours):
        for start in range(0, positions, PIXELS):
            n = min(PIXELS, positions - start)
            s, d = student[c, start : start + n], grad_student[c, start : start + n]
            g, t = hr[c, start : start + n], teacher[c, start : start + n]
            for i in range(n):
                first[i], second[i] = b2[c, 0], b2[c, 1]
            for j in range(hidden):
                of_g, of_t, bias, to_first, to_second = w1[c, j, 0], w1[c, j, 1], b1[c, j], w2[c, 0, j], w2[c, 1, j]
                for i in range(n):
                    h = max(of_g * g[i] + of_t * t[i] + bias, zero)
                    first[i] += to_first * h
                    second[i] += to_second * h
            _sigmoids(first, n, bits, powers)
            _sigmoids(second, n, bits, powers)
            for i in range(n):
                shares[i] = first[i] - second[i]
            _sigmoids(shares, n, bits, powers)
            part = zero
            for i in range(n):
                p, q, share = first[i], second[i], shares[i]
                difference = s[i] - (share * g[i] + (one - share) * t[i])
                sign = (one if difference > zero else zero) - (one if difference < zero else zero)
                part += np.abs(difference)
                d[i] = sign
                back = sign * (t[i] - g[i]) * share * (one - share)
                first[i], second[i] = back * p * (one - p), -back * q * (one - q)
            total += part
            to_b0, to_b1 = zero, zero
            for i in range(n):
                to_b0 += first[i]
                to_b1 += second[i]
            grad_b2[c, 0] += to_b0
            grad_b2[c, 1] += to_b1
            for j in range(hidden):
                of_g, of_t, bias, to_first, to_second = w1[c, j, 0], w1[c, j, 1], b1[c, j], w2[c, 0, j], w2[c, 1, j]
                sum_first, sum_second, sum_g, sum_t, sum_bias = zero, zero, zero, zero, zero
                for i in range(n):
                    h = max(of_g * g[i] + of_t * t[i] + bias, zero)
                    sum_first += first[i] * h
                    sum_second += second[i] * h
                    into_hidden = to_first * first[i] + to_second * second[i] if h > zero else zero
                    sum_g += into_hidden * g[i]
                    sum_t += into_hidden * t[i]
                    sum_bias += into_hidden
                grad_w2[c, 0, j] += sum_first
                grad_w2[c, 1, j] += sum_second
                grad_w1[c, j, 0] += sum_g
                grad_w1[c, j, 1] += sum_t
                grad_b1[c, j] += sum_bias
    return total


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def _sigmoids(values, count, bits, powers):
    """Replace the first ``count`` values by their sigmoids, with a polynomial in place of the library's exp.

    exp(-x) = 2^k exp(r) with a whole number k and small r: 2^k is made of its bits, exp(r) by its series to r^11.
    """
    real = values.dtype.type
    one, half, steepest = real(1), real(0.5), real(STEEPEST)
    bias, mantissa = (127, 23) if bits.itemsize == 4 else (1023, 52)
    for i in range(count):
        x = -values[i]
        # So written, NaN stays NaN.
        x = steepest if x > steepest else x
        x = -steepest if x < -steepest else x
        k = np.floor(x * real(1.4426950408889634) + half)
        r = x - k * real(LN2_HIGH) - k * real(LN2_LOW)
        series = real(1 / 39916800)
        series = real(1 / 3628800) + r * series
        series = real(1 / 362880) + r * series
        series = real(1 / 40320) + r * series
        series = real(1 / 5040) + r * series
        series = real(1 / 720) + r * series
        series = real(1 / 120) + r * series
        series = real(1 / 24) + r * series
        series = real(1 / 6) + r * series
        values[i] = one + r * (one + r * (half + r * series))
        bits[i] = (np.int64(k if k > -steepest - steepest else -one) + bias) << mantissa
    for i in range(count):
        values[i] = one / (one + values[i] * powers[i])
