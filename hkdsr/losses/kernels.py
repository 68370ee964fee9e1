"""Inner loops compiled by Numba, each for one sample. They release Python's lock, so threads can share a batch.

The loops process arrays in tiles of fixed size, which the compiler turns into vector instructions. It may reorder sums;
NaN and infinity are handled as usual.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}
ROWS = 64  # vectors d per tile: four registers for each colour of d and of its sum
PIXELS = 512  # of one colour per tile, so that all arrays of a tile fit in the first-level cache
MARGIN, NOISE = 1 - 1e-5, 1e-6  # margins for rounding errors of a ratio, relative and absolute


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def signed_sums(vectors, hr, spread, running, axis, out):
    """``out[:, p] = sum over q of sign(<vectors[:, p], hr[:, q]>) hr[:, q]``.

    Args:
        vectors: (3, P).
        hr: (3, Q), sorted by ``spread``.
        spread: (Q,), for each vector of ``hr`` its length across ``axis`` divided by its length along it.
        running: (3, Q + 1), the sums of the first 0, 1, ... Q vectors of ``hr``, each with the sign that makes its
            component along ``axis`` positive.
        axis: (3,), of length 1.
        out: (3, P), overwritten by the result.
    """
    real = vectors.dtype.type
    zero, one = real(0), real(1)
    positions, count = vectors.shape[1], hr.shape[1]

    # For each vector, the number of positions whose sign is known; then a counting sort of the vectors by it.
    settled = np.empty(positions, np.int64)
    places = np.zeros(count + 2, np.int64)
    for p in range(positions):
        d0, d1, d2 = vectors[0, p], vectors[1, p], vectors[2, p]
        along = axis[0] * d0 + axis[1] * d1 + axis[2] * d2
        c0, c1, c2 = d0 - axis[0] * along, d1 - axis[1] * along, d2 - axis[2] * along
        across = np.sqrt(c0 * c0 + c1 * c1 + c2 * c2)
        known = count
        if across > zero:
            known = np.searchsorted(spread, np.abs(along) / across * real(MARGIN) - real(NOISE))
        settled[p] = known
        places[known + 1] += 1
    for known in range(count + 1):
        places[known + 1] += places[known]
    order = np.empty(positions, np.int64)
    for p in range(positions):
        order[places[settled[p]]] = p
        places[settled[p]] += 1

    d = np.empty((3, ROWS), vectors.dtype)
    total = np.empty((3, ROWS), vectors.dtype)
    for start in range(0, positions, ROWS):
        rows = min(ROWS, positions - start)
        known = settled[order[start]]
        d[:] = zero
        total[:] = zero
        for row in range(rows):
            p = order[start + row]
            d0, d1, d2 = vectors[0, p], vectors[1, p], vectors[2, p]
            along = axis[0] * d0 + axis[1] * d1 + axis[2] * d2
            sign = (one if along > zero else zero) - (one if along < zero else zero)
            d[0, row], d[1, row], d[2, row] = d0, d1, d2
            for c in range(3):
                total[c, row] = sign * running[c, known]
        for q in range(known, count):
            g0, g1, g2 = hr[0, q], hr[1, q], hr[2, q]
            for row in range(ROWS):
                dot = d[0, row] * g0 + d[1, row] * g1 + d[2, row] * g2
                sign = (one if dot > zero else zero) - (one if dot < zero else zero)
                total[0, row] += sign * g0
                total[1, row] += sign * g1
                total[2, row] += sign * g2
        for row in range(rows):
            p = order[start + row]
            for c in range(3):
                out[c, p] = total[c, row]


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def gated_distance(student, hr, teacher, w1, b1, w2, b2, grad_student, grad_w1, grad_b1, grad_w2, grad_b2):
    """The sum of ``|S - F|`` over a sample, where F is G and T weighted by the gates of ACF, and its gradients.

    Args:
        student, hr, teacher: (3, N).
        w1, b1, w2, b2: weights and biases of both layers of the gate of each colour: (3, hidden, 2), (3, hidden),
            (3, 2, hidden) and (3, 2).
        grad_student: (3, N), overwritten by the gradient.
        grad_w1, grad_b1, grad_w2, grad_b2: shaped as the weights; their gradients are added to these.

    Returns:
        The sum, a number.
    """
    real = student.dtype.type
    zero, one = real(0), real(1)
    colours, positions = student.shape
    hidden = w1.shape[1]
    first, second = np.empty(PIXELS, student.dtype), np.empty(PIXELS, student.dtype)
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
            part = zero
            for i in range(n):
                p, q = one / (one + np.exp(-first[i])), one / (one + np.exp(-second[i]))
                share = one / (one + np.exp(q - p))
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
