"""FSM compiled by Numba, for one sample: the mean over q of sign(<d, g(q)>) g(q), and the whole loss in one pass.

Most signs follow from a bound. With an axis a along which G has most energy, let c(v) be the share of the energy of a
vector v that lies along it. By the Cauchy-Schwarz inequality, <d, g> has the sign of <d, a> <g, a> if c(d) + c(g) > 1.
The vectors of G are put into buckets by c(g), so that for each d the pairs with a known sign are those of whole
buckets, whose sums are known. Only the other pairs are multiplied. The result is exact for any input and any axis.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}
ROWS = 128  # vectors d per tile, which stay in the first-level cache
BUCKETS = 512
MARGIN = 1e-5  # for rounding errors of a share
ROUNDS = 8  # of the power method; bands of photographs have one large eigenvalue


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def signed_means(vectors, hr, out):
    """``out[:, p] = mean over q of sign(<vectors[:, p], hr[:, q]>) hr[:, q]``.

    Args:
        vectors: (3, P).
        hr: (3, Q).
        out: (3, P), overwritten by the result.
    """
    real = vectors.dtype.type
    zero, one = real(0), real(1)
    positions, count = vectors.shape[1], hr.shape[1]
    axis = _main_axis(hr)
    ordered, starts, sums = _in_buckets(hr, axis)
    order, buckets = _by_bucket(vectors, axis)

    d = np.empty((3, ROWS), vectors.dtype)
    total = np.empty((3, ROWS), vectors.dtype)
    for start in range(0, positions, ROWS):
        rows = min(ROWS, positions - start)
        bucket = buckets[order[start]]
        known = starts[bucket]
        d[:] = zero
        total[:] = zero
        for row in range(rows):
            p = order[start + row]
            d0, d1, d2 = vectors[0, p], vectors[1, p], vectors[2, p]
            along = axis[0] * d0 + axis[1] * d1 + axis[2] * d2
            sign = (one if along > zero else zero) - (one if along < zero else zero)
            d[0, row], d[1, row], d[2, row] = d0, d1, d2
            for c in range(3):
                total[c, row] = sign * real(sums[c, bucket])
        _add_pairs(d, ordered, known, total)
        for row in range(rows):
            for c in range(3):
                out[c, order[start + row]] = total[c, row] / real(count)


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def similarity(difference, hr, levels, gradient):
    """FSM of the high bands: the sum over bands and exits of the mean over p and q of ``|<d(p), g(q)>|``.

    Args:
        difference: (K, 3, H, W), S - T of K exits, times their weights.
        hr: (3, H, W).
        levels: of the Haar transform.
        gradient: (K, 3, H, W), overwritten by the gradient by ``difference``.

    Returns:
        The sum, a number.
    """
    low, low_hr = difference, hr.reshape(1, *hr.shape)
    kept = []
    total = 0.0
    for _ in range(levels):
        low, bands = _split(low)
        low_hr, bands_hr = _split(low_hr)
        means = np.empty_like(bands)
        size = low_hr.shape[2] * low_hr.shape[3]
        for band in range(3):
            signed_means(bands[band], bands_hr[band], means[band])
            part = 0.0
            for c in range(3):
                d, mean = bands[band, c], means[band, c]
                for p in range(len(d)):
                    part += np.float64(d[p]) * np.float64(mean[p])
                    mean[p] = mean[p] / size
            total += part / size
        kept.append(means)
    back = np.zeros_like(low)
    for level in range(levels - 1, 0, -1):
        inner = np.empty((len(difference), 3, -(-hr.shape[1] // 2**level), -(-hr.shape[2] // 2**level)), back.dtype)
        _join(back, kept[level], inner)
        back = inner
    _join(back, kept[0], gradient)
    return total


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def _main_axis(hr):
    """(3,), of length 1: about the direction along which the vectors have most energy."""
    moments = np.zeros((3, 3))
    for i in range(3):
        for j in range(i, 3):
            moment = 0.0
            for q in range(hr.shape[1]):
                moment += np.float64(hr[i, q]) * np.float64(hr[j, q])
            moments[i, j] = moments[j, i] = moment
    axis = np.array([1.0, 1.1, 0.9])
    for _ in range(ROUNDS):
        turned = moments[0] * axis[0] + moments[1] * axis[1] + moments[2] * axis[2]
        length = np.sqrt((turned * turned).sum())
        if length > 0:
            axis = turned / length
    return (axis / np.sqrt((axis * axis).sum())).astype(hr.dtype)


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def _shares(vectors, axis, shares):
    """For each vector (3, N) the share (N,) of its energy along the axis; zero for vectors without energy and NaN."""
    zero = vectors.dtype.type(0)
    for p in range(vectors.shape[1]):
        d0, d1, d2 = vectors[0, p], vectors[1, p], vectors[2, p]
        along = axis[0] * d0 + axis[1] * d1 + axis[2] * d2
        share = along * along / (d0 * d0 + d1 * d1 + d2 * d2)
        shares[p] = share if share > zero else zero


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def _in_buckets(hr, axis):
    """The vectors by bucket, those along the axis first; where each bucket starts; and sums.

    The sums are those of the vectors before each bucket, each with the sign that makes its component along the axis
    positive.
    """
    real = hr.dtype.type
    count = hr.shape[1]
    shares, bucket = np.empty(count, hr.dtype), np.empty(count, np.int32)
    _shares(hr, axis, shares)
    starts, sums = np.zeros(BUCKETS + 1, np.int64), np.zeros((3, BUCKETS + 1))
    for q in range(count):
        bucket[q] = BUCKETS - 1 - min(np.int32(shares[q] * real(BUCKETS)), np.int32(BUCKETS - 1))
    for q in range(count):
        g0, g1, g2 = hr[0, q], hr[1, q], hr[2, q]
        along = axis[0] * g0 + axis[1] * g1 + axis[2] * g2
        sign = (1.0 if along > 0 else 0.0) - (1.0 if along < 0 else 0.0)
        after = bucket[q] + 1
        starts[after] += 1
        sums[0, after] += sign * g0
        sums[1, after] += sign * g1
        sums[2, after] += sign * g2
    for b in range(BUCKETS):
        starts[b + 1] += starts[b]
        for c in range(3):
            sums[c, b + 1] += sums[c, b]
    places, ordered = starts.copy(), np.empty_like(hr)
    for q in range(count):
        to = places[bucket[q]]
        places[bucket[q]] = to + 1
        for c in range(3):
            ordered[c, to] = hr[c, q]
    return ordered, starts, sums


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def _by_bucket(vectors, axis):
    """The order of the vectors by the first bucket with signs that are not known, and that bucket for each vector."""
    real = vectors.dtype.type
    one = real(1)
    positions = vectors.shape[1]
    shares, bucket = np.empty(positions, vectors.dtype), np.empty(positions, np.int32)
    _shares(vectors, axis, shares)
    for p in range(positions):
        needed = min(one - shares[p] + real(MARGIN), one)
        bucket[p] = BUCKETS - 1 - min(np.int32(needed * real(BUCKETS)), np.int32(BUCKETS - 1))
    places = np.zeros(BUCKETS + 1, np.int64)
    for p in range(positions):
        places[bucket[p] + 1] += 1
    for b in range(BUCKETS):
        places[b + 1] += places[b]
    order = np.empty(positions, np.int32)
    for p in range(positions):
        to = places[bucket[p]]
        order[to] = p
        places[bucket[p]] = to + 1
    return order, bucket


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def _add_pairs(d, ordered, known, total):
    """Add ``sign(<d, g>) g`` for the vectors ``ordered[:, known:]``, four at a time: their sums stay in registers."""
    real = d.dtype.type
    zero, one = real(0), real(1)
    count = ordered.shape[1]
    whole = known + (count - known) // 4 * 4
    for q in range(known, whole, 4):
        a0, a1, a2 = ordered[0, q], ordered[1, q], ordered[2, q]
        b0, b1, b2 = ordered[0, q + 1], ordered[1, q + 1], ordered[2, q + 1]
        c0, c1, c2 = ordered[0, q + 2], ordered[1, q + 2], ordered[2, q + 2]
        e0, e1, e2 = ordered[0, q + 3], ordered[1, q + 3], ordered[2, q + 3]
        for row in range(ROWS):
            x, y, z = d[0, row], d[1, row], d[2, row]
            a, b = x * a0 + y * a1 + z * a2, x * b0 + y * b1 + z * b2
            c, e = x * c0 + y * c1 + z * c2, x * e0 + y * e1 + z * e2
            a = (one if a > zero else zero) - (one if a < zero else zero)
            b = (one if b > zero else zero) - (one if b < zero else zero)
            c = (one if c > zero else zero) - (one if c < zero else zero)
            e = (one if e > zero else zero) - (one if e < zero else zero)
            total[0, row] += a * a0 + b * b0 + c * c0 + e * e0
            total[1, row] += a * a1 + b * b1 + c * c1 + e * e1
            total[2, row] += a * a2 + b * b2 + c * c2 + e * e2
    for q in range(whole, count):
        a0, a1, a2 = ordered[0, q], ordered[1, q], ordered[2, q]
        for row in range(ROWS):
            a = d[0, row] * a0 + d[1, row] * a1 + d[2, row] * a2
            a = (one if a > zero else zero) - (one if a < zero else zero)
            total[0, row] += a * a0
            total[1, row] += a * a1
            total[2, row] += a * a2


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def _split(images):
    """Images (K, 3, H, W) -> low band (K, 3, h, w) and the bands cH, cV, cD as vectors (3, 3, K * h * w)."""
    exits, _, height, width = images.shape
    h, w = -(-height // 2), -(-width // 2)
    if height % 2 or width % 2:
        padded = np.zeros((exits, 3, 2 * h, 2 * w), images.dtype)
        padded[:, :, :height, :width] = images
        images = padded
    half = images.dtype.type(0.5)
    low, bands = np.empty((exits, 3, h, w), images.dtype), np.empty((3, 3, exits * h * w), images.dtype)
    for k in range(exits):
        for c in range(3):
            for i in range(h):
                top, bottom, start = images[k, c, 2 * i], images[k, c, 2 * i + 1], (k * h + i) * w
                for j in range(w):
                    left, right = half * (top[2 * j] + bottom[2 * j]), half * (top[2 * j + 1] + bottom[2 * j + 1])
                    low[k, c, i, j] = left + right
                    bands[1, c, start + j] = left - right
                    left, right = half * (top[2 * j] - bottom[2 * j]), half * (top[2 * j + 1] - bottom[2 * j + 1])
                    bands[0, c, start + j] = left + right
                    bands[2, c, start + j] = left - right
    return low, bands


@njit(nogil=True, fastmath=FAST, cache=True, error_model="numpy")
def _join(low, bands, images):
    """The reverse of ``_split``, into ``images`` (K, 3, H, W); it is the transposed transform too."""
    exits, _, h, w = low.shape
    whole = images
    height, width = images.shape[2], images.shape[3]
    if height % 2 or width % 2:
        whole = np.empty((exits, 3, 2 * h, 2 * w), images.dtype)
    half = low.dtype.type(0.5)
    for k in range(exits):
        for c in range(3):
            for i in range(h):
                top, bottom, start = whole[k, c, 2 * i], whole[k, c, 2 * i + 1], (k * h + i) * w
                for j in range(w):
                    s, v = low[k, c, i, j], bands[1, c, start + j]
                    u, x = bands[0, c, start + j], bands[2, c, start + j]
                    top[2 * j], top[2 * j + 1] = half * (s + v + u + x), half * (s - v + u - x)
                    bottom[2 * j], bottom[2 * j + 1] = half * (s + v - u - x), half * (s - v - u + x)
    if height % 2 or width % 2:
        images[:] = whole[:, :, :height, :width]
