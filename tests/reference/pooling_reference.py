"""Frames pooled into scans, all frames at once, in double precision; slow and independent of brainpred's code."""

import math

import numpy as np


def lanczos_weight(x):
    """Weight of a frame that lies ``x`` scans from the middle of a scan: Duchon's filter of three lobes."""
    if abs(x) >= 3:
        return 0.0
    if x == 0:
        return 1.0
    return 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2


def frames_within(times_s, tr_s, scan):
    """Numbers of the frames that are shown during a scan."""
    return [n for n, time_s in enumerate(times_s) if scan * tr_s - 1e-6 <= time_s < (scan + 1) * tr_s - 1e-6]


def pool_frames(times_s, values, tr_s, n_scans, pooling):
    """Turn values (n_frames, ...) into scans (n_scans, ...) with one matrix of weights."""
    weights = np.zeros((n_scans, len(times_s)))
    for scan in range(n_scans):
        inside = frames_within(times_s, tr_s, scan)
        if pooling == "mean":
            weights[scan, inside] = 1.0
        elif pooling == "last":
            weights[scan, inside[-1]] = 1.0
        else:
            for frame, time_s in enumerate(times_s):
                weights[scan, frame] = lanczos_weight((time_s - (scan + 0.5) * tr_s) / tr_s)
    weights /= weights.sum(axis=1, keepdims=True)
    values = np.asarray(values, dtype=float)
    return (weights @ values.reshape(len(values), -1)).reshape(
        n_scans, *values.shape[1:]
    )  # scans x frames @ frames x units


def closing_frame(times_s, tr_s, scan, pooling):
    """Number of the first frame from which on no frame counts for a scan; None if the movie ends before."""
    for frame, time_s in enumerate(times_s):
        if pooling == "lanczos":
            closed = time_s - (scan + 0.5) * tr_s >= 3 * tr_s
        else:
            closed = time_s >= (scan + 1) * tr_s - 1e-6
        if closed:
            return frame
    return None
