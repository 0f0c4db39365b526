"""Pictures through a bridge: what is known comes back, layers count alike, and frames take what their scans say."""

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from brainpred.errors import DataError
from brainpred.numerics.timing import hold_scans
from brainpred.reconstruction.bridged import FrameBridge, bridge_pictures

SIZE, N_LATENT, N_SCANS = (5, 7), 3, 83


class LinearFrames:
    """Frames that are linear in a few latents."""

    def __init__(self, rng):
        self.axes = torch.from_numpy(0.04 * rng.standard_normal((N_LATENT, 3 * SIZE[0] * SIZE[1])).astype(np.float32))

    def posterior(self, x):
        mean = (x.flatten(1) - 0.5) @ torch.linalg.pinv(self.axes)
        return Independent(Normal(mean, torch.full_like(mean, 0.05)), 1)

    def likelihood(self, z):
        made = (0.5 + z @ self.axes).reshape(*z.shape[:-1], 3, *SIZE)
        return Independent(Normal(made, 0.05), 3)


@pytest.fixture
def known():
    """Two layers, the first linear in two latents of frames, the second in the third alone and in larger units."""
    rng = np.random.default_rng(5)
    model, z = LinearFrames(rng), rng.standard_normal((N_SCANS, N_LATENT)).astype(np.float32)
    pictures = model.likelihood(torch.from_numpy(z)).mean.permute(0, 2, 3, 1).numpy()
    layers = {}
    for number, n, told, scale in ((0, 61, z[:, :2], 1.0), (2, 37, z[:, 2:], 50.0)):
        signal = told @ rng.standard_normal((told.shape[1], n))
        layers[number] = (scale * (signal + 0.1 * rng.standard_normal((N_SCANS, n)))).astype(np.float32)
    return model, layers, np.round(255 * pictures).astype(np.uint8), z


def rows(layers, which):
    return {layer: values[which] for layer, values in layers.items()}


def test_pictures_that_were_left_out_come_back(known):
    model, layers, frames, z = known
    bridge = FrameBridge(model).fit(rows(layers, slice(0, 60)), frames[:60])
    latents = bridge.latents(rows(layers, slice(60, None)))
    for latent in range(N_LATENT):
        assert np.corrcoef(latents[:, latent], z[60:, latent])[0, 1] > 0.98
    made = bridge.pictures(latents).permute(0, 2, 3, 1).numpy()
    assert np.abs(made - frames[60:] / 255).mean() < 0.2 * np.abs(frames[60:] / 255 - 0.5).mean()


def test_layers_count_alike_whatever_their_units_are(known):
    model, layers, frames, _ = known
    other = {2: layers[2], 0: 1000 * layers[0]}  # in another order, too
    one, two = (FrameBridge(model).fit(given, frames) for given in (layers, {0: other[0], 2: other[2]}))
    np.testing.assert_allclose(one.latents(layers), two.latents(other), atol=2e-3)


@pytest.mark.parametrize("hold", ["nearest", "linear"])
def test_frames_take_what_their_scans_say(known, hold):
    model, layers, frames, _ = known
    bridge = FrameBridge(model).fit(layers, frames)
    times_s, asked = np.arange(23) / 3.5, []
    held = hold_scans(times_s, 1.7, 4, hold)

    def representations(scan):
        asked.append(scan)
        return {layer: values[[scan, scan + 40]].reshape(2, -1, 1, 1) for layer, values in layers.items()}

    unseen = iter([object()] * len(times_s))  # what was shown cannot enter
    made = [picture.numpy() for picture in bridge_pictures(bridge, representations, held, unseen, ["closed-loop"] * 2)]
    assert asked == [0, 1, 2, 3]
    assert next(unseen, None) is None
    assert len(made) == len(times_s)
    for t, time_s in enumerate(times_s):
        place = min(max(time_s / 1.7 - 0.5, 0), 3) if hold == "linear" else min(int(time_s / 1.7), 3)
        first, part = int(place), place - int(place)
        z = [bridge.latents(rows(layers, [scan, scan + 40])).numpy() for scan in (first, min(first + 1, 3))]
        expected = 0.5 + ((1 - part) * z[0] + part * z[1]) @ model.axes.numpy()
        np.testing.assert_allclose(made[t].reshape(2, -1), expected, atol=1e-5)


def test_what_cannot_be_used_is_told(known):
    model, layers, frames, _ = known
    with pytest.raises(DataError, match="3 scans and 3 units or more"):
        FrameBridge(model).fit(rows(layers, slice(0, 2)), frames[:2])
    bridge = FrameBridge(model).fit(layers, frames)
    broken = rows(layers, slice(0, 3))
    broken[2] = np.full_like(broken[2], np.nan)
    with pytest.raises(DataError, match="not finite"):
        bridge.latents(broken)
