"""Shares of variance equal a slow reference and are those that were planted, whatever the noise within runs."""

from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import nnls

from brainpred.errors import DataError
from brainpred.numerics.variance_components import variance_shares

N_SCANS, N_UNITS = 43, 17
CLIPS = (0, 1, 2, 3, 4, 4, 4)  # the last is shown three times
PLANTED = np.array([0.06, 0.02, 0.0])
RHO = 0.4


def features(rng):
    """Draw three kinds that go together."""
    common = rng.standard_normal((N_SCANS * 5, N_UNITS))
    own = rng.standard_normal((3, N_SCANS * 5, N_UNITS))
    return [gaussian_filter1d(0.6 * common + 0.8 * one, 1.0, axis=0) for one in own]


def record(rng, signal):
    """Show every clip: scans with AR(1) noise and drift, of which a signal (n_rows, n_voxels) is part; rows, runs."""
    rows = np.concatenate([clip * N_SCANS + np.arange(N_SCANS) for clip in CLIPS])
    scans = []
    for clip in CLIPS:
        noise = rng.standard_normal((N_SCANS, signal.shape[1]))
        for scan in range(1, N_SCANS):
            noise[scan] = RHO * noise[scan - 1] + np.sqrt(1 - RHO**2) * noise[scan]
        drift = np.outer(np.linspace(-1, 1, N_SCANS) ** 2, rng.standard_normal(signal.shape[1]))
        scans.append(signal[clip * N_SCANS :][:N_SCANS] + noise + drift)
    return np.concatenate(scans), rows, np.repeat([f"run {number}" for number in range(len(CLIPS))], N_SCANS)


def example(seed, n_voxels=499):
    """Give S, kernels, rows, runs of voxels that carry the first kind and a little of the second."""
    rng = np.random.default_rng(seed)
    kinds = features(rng)
    signal = sum(
        gain * kind @ rng.standard_normal((N_UNITS, n_voxels))
        for gain, kind in zip((0.1, 0.05), kinds[:2], strict=True)
    )
    scans, rows, runs = record(rng, signal)
    return scans @ scans.T / n_voxels, [kind @ kind.T for kind in kinds], rows, runs


def about_drifts(courses):
    """Give the mean variance of courses (n_scans, n_voxels), clips below one another, about parabolas."""
    clips = courses.reshape(-1, N_SCANS, courses.shape[1])
    basis, _ = np.linalg.qr(np.vander(np.arange(N_SCANS), 3))
    return np.mean((clips - basis @ (basis.T @ clips)) ** 2)


def test_planted_shares_are_found_in_their_intervals():
    shares, truths = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        kinds = features(rng)
        courses = [np.sqrt(part) * kind @ rng.standard_normal((N_UNITS, 3001)) / np.sqrt(N_UNITS * np.var(kind))
                   for kind, part in zip(kinds, PLANTED, strict=True)]  # fmt: skip
        scans, rows, runs = record(rng, np.sum(courses, axis=0))
        kernels = [gain * (kind @ kind.T) for gain, kind in zip((1.0, 30.0, 0.2), kinds, strict=True)]
        shares.append(
            variance_shares(scans @ scans.T / 3001, kernels, rows, runs, rows // N_SCANS, np.ones(len(rows), bool))
        )
        truths.append([about_drifts(course[rows]) / about_drifts(scans) for course in courses])
    (share, low, high), truth = np.stack(shares).swapaxes(0, 1), np.stack(truths)
    np.testing.assert_allclose(share.mean(axis=0), truth.mean(axis=0), atol=0.0015)
    assert ((low <= truth) & (truth <= high)).mean() > 0.9
    assert (low[:, 0] > 0).all(), "what is strong is beyond doubt"
    assert (low[:, 2] == 0).mean() > 0.9
    assert (share >= 0).all()


def test_noise_within_runs_biases_nothing():
    """Noise that is as the features are, as strong as all other, but other in every run."""
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        kinds = features(rng)
        scans, rows, runs = record(rng, np.zeros((5 * N_SCANS, 2003)))
        for run in np.unique(runs):
            scans[runs == run] += kinds[1][rows[runs == run]] @ rng.standard_normal((N_UNITS, 2003)) / 3
        kernels = [kind @ kind.T for kind in kinds]
        found.append(
            variance_shares(
                scans @ scans.T / 2003, kernels, rows, runs, rows // N_SCANS, np.ones(len(rows), bool)
            ).share
        )
    assert np.mean(found, axis=0).max() < 0.002


def test_signal_of_the_clips_that_no_kernel_holds_biases_nothing():
    """What comes again with a clip, and follows none of the kernels, counts for none."""
    found = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        kinds = features(rng)
        other = gaussian_filter1d(rng.standard_normal((5 * N_SCANS, N_UNITS)), 1.0, axis=0)
        signal = 0.05 * kinds[0] @ rng.standard_normal((N_UNITS, 2003))
        signal += 0.12 * other @ rng.standard_normal((N_UNITS, 2003))
        scans, rows, runs = record(rng, signal)
        kernels, kept = [kind @ kind.T for kind in kinds], np.ones(len(rows), bool)
        found.append(variance_shares(scans @ scans.T / 2003, kernels, rows, runs, rows // N_SCANS, kept))
    share, low, _ = np.stack(found).swapaxes(0, 1)
    assert (low[:, 0] > 0).all()
    assert share[:, 1:].mean(axis=0).max() < 0.0015, "0.004 where repeats of a clip are pairs too"
    assert (low[:, 1:] > 0).mean() <= 0.05


def test_slow_features_are_cleaned_as_the_scans_were():
    """What a filter takes from the scans is not missed in a slow layer."""
    filtered = np.cos(np.pi * np.arange(1, 4) * (np.arange(N_SCANS)[:, None] + 0.5) / N_SCANS)
    basis, _ = np.linalg.qr(filtered)
    design, _ = np.linalg.qr(np.hstack([np.vander(np.arange(N_SCANS), 3), filtered]))
    found, kept_cosines, truth = [], [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        slow = gaussian_filter1d(rng.standard_normal((5 * N_SCANS, N_UNITS)), 3.0, axis=0)
        signal = 0.4 * slow @ rng.standard_normal((N_UNITS, 1009))
        scans, rows, runs = record(rng, signal)
        scans, clean = (x.reshape(-1, N_SCANS, 1009) for x in (scans, signal[rows]))
        scans = scans - basis @ (basis.T @ scans)
        truth.append(
            np.mean((clean - design @ (design.T @ clean)) ** 2) / np.mean((scans - design @ (design.T @ scans)) ** 2)
        )
        scans = scans.reshape(-1, 1009)
        given = (scans @ scans.T / 1009, [slow @ slow.T], rows, runs, rows // N_SCANS, np.ones(len(rows), bool))
        found.append(variance_shares(*given, dict.fromkeys(np.unique(runs), filtered)).share[0])
        kept_cosines.append(variance_shares(*given).share[0])
    assert np.mean(found) == pytest.approx(np.mean(truth), rel=0.05)
    assert np.mean(kept_cosines) != pytest.approx(np.mean(truth), rel=0.15)


def test_scans_that_do_not_count_change_nothing():
    products, kernels, rows, runs = example(6)
    kept = np.random.default_rng(6).random(len(rows)) > 0.1
    before = variance_shares(products, kernels, rows, runs, rows // N_SCANS, kept)
    broken = products.copy()
    broken[~kept], broken[:, ~kept] = 1e6, 1e6
    np.testing.assert_allclose(
        np.stack(variance_shares(broken, kernels, rows, runs, rows // N_SCANS, kept)), np.stack(before)
    )


def test_equals_a_slow_reference():
    products, kernels, rows, runs = example(7)
    found = variance_shares(products, kernels, rows, runs, rows // N_SCANS, np.ones(len(rows), bool))
    assert (found.share[:2] > 0.001).all()
    np.testing.assert_allclose(found.share, slow_shares(products, kernels, rows, runs), atol=1e-6)


def slow_shares(products, kernels, rows, runs):
    """Whiten every pair of runs, in the space without drifts, and fit by ordinary least squares."""
    samples = [np.flatnonzero(runs == run) for run in dict.fromkeys(runs)]
    ar1 = np.mean([products[t, t + 1] for own in samples for t in own[:-1]]) / np.mean(np.diag(products))
    basis, _ = np.linalg.qr(np.vander(np.arange(N_SCANS) / N_SCANS, 3), mode="complete")
    basis = basis[:, 3:]
    noise = np.array([[ar1 ** abs(i - j) for j in range(N_SCANS)] for i in range(N_SCANS)])
    of = [[[basis.T @ k[np.ix_(rows[a], rows[b])] @ basis for b in samples] for a in samples] for k in kernels]
    sizes = [np.mean([np.trace(one[a][a]) / N_SCANS for a in range(len(samples))]) for one in of]
    of = [[[block / size for block in line] for line in one] for one, size in zip(of, sizes, strict=True)]
    total = np.mean([np.trace(basis.T @ products[np.ix_(own, own)] @ basis) / N_SCANS for own in samples])
    share = np.zeros(3)
    for _ in range(3):
        whiten = []
        for a in range(len(samples)):
            signal = sum(s * one[a][a] for s, one in zip(share, of, strict=True))
            v = max(total - share.sum(), 0.1 * total) * basis.T @ noise @ basis + CLIPS.count(CLIPS[a]) * signal
            whiten.append(np.linalg.inv(sqrtm(v).real))
        design, target = [], []
        for a, b in combinations(range(len(samples)), 2):
            if CLIPS[a] == CLIPS[b]:
                continue
            design.append(np.stack([(whiten[a] @ one[a][b] @ whiten[b]).ravel() for one in of], axis=1))
            block = basis.T @ products[np.ix_(samples[a], samples[b])] @ basis
            target.append((whiten[a] @ block @ whiten[b]).ravel())
        share, _ = nnls(np.concatenate(design), np.concatenate(target))
    return share / total


def test_alike_and_constant_features_and_silent_voxels():
    products, (kernel, *_), rows, runs = example(9)
    kept = np.ones(len(rows), bool)
    alone = variance_shares(products, [kernel], rows, runs, rows // N_SCANS, kept)
    twice = variance_shares(products, [kernel, 3 * kernel, np.zeros_like(kernel)], rows, runs, rows // N_SCANS, kept)
    assert twice.share[:2].sum() == pytest.approx(alone.share[0], rel=1e-3)
    assert twice.share[2] == 0
    assert np.isnan(
        np.stack(variance_shares(np.zeros_like(products), [kernel], rows, runs, rows // N_SCANS, kept))
    ).all()


def test_too_little_is_refused():
    products, kernels, rows, runs = example(1)
    kept, few = np.ones(len(rows), bool), runs > "run 2"
    with pytest.raises(DataError, match="3 runs or more that show nothing of the same, received 2"):
        variance_shares(products[np.ix_(few, few)], kernels, rows[few], runs[few], rows[few] // N_SCANS, kept[few])
    kept[3:N_SCANS] = False
    with pytest.raises(DataError, match="Of the 43 scans of run run 0 3 can be used"):
        variance_shares(products, kernels, rows, runs, rows // N_SCANS, kept)
