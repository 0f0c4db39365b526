"""The latent bridge on linear models, where everything is known in closed form, and on users' own models."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal

from brainpred import LatentBridge
from brainpred.errors import CheckpointError, ConfigError, DataError
from brainpred.models.likelihood import LikelihoodEstimate
from brainpred.models.ppca import ProbabilisticPCA

NOISE = 0.3


class Exact:
    """x = z W + noise, orthonormal rows of W, with its exact posterior."""

    def __init__(self, weights, noise=NOISE):
        self.weights, self.noise = weights, noise

    def posterior(self, x):
        precision = 1 + 1 / self.noise**2
        mean = x @ self.weights.T / self.noise**2 / precision
        return Independent(Normal(mean, torch.full_like(mean, precision**-0.5)), 1)

    def likelihood(self, z):
        return Independent(Normal(z @ self.weights, self.noise), 1)


class Certain(Exact):
    """Claims to know latents without any uncertainty."""

    def posterior(self, x):
        mean = x @ self.weights.T
        return Independent(Normal(mean, torch.zeros_like(mean), validate_args=False), 1)


def _orthonormal(rows, columns, generator):
    return torch.linalg.qr(torch.randn(columns, rows, generator=generator))[0].T.contiguous()


@pytest.fixture(scope="module")
def linear():
    """Two views of related latents: z_y = 0.8 z_x + 0.6 e, so that p(y|x) is normal and known."""
    generator = torch.Generator().manual_seed(1)
    source, target = Exact(_orthonormal(2, 5, generator)), Exact(_orthonormal(2, 7, generator))
    z = torch.randn(800, 2, generator=generator)
    other = 0.8 * z + 0.6 * torch.randn(800, 2, generator=generator)
    x, y = z @ source.weights, other @ target.weights
    x, y = (data + NOISE * torch.randn(data.shape, generator=generator) for data in (x, y))
    return source, target, x, y


def _true_log_likelihood(source, target, x, y):
    """log p(y|x): z_x|x is known, z_y|z_x is 0.8 z_x + 0.6 e, y is linear in z_y."""
    q = source.posterior(x).base_dist
    spread = 0.8**2 * q.variance[0] + 0.6**2
    covariance = target.weights.T @ torch.diag(spread) @ target.weights + NOISE**2 * torch.eye(7)
    return MultivariateNormal(0.8 * q.mean @ target.weights, covariance).log_prob(y)


FITS = {
    "joint": {},
    "gaussian": {"family": "gaussian", "updates": 500},
    "linear": {"family": "linear"},
    "bayes, joint": {"base": "standard", "guidance": 1.0},
    "bayes, linear": {"family": "linear", "base": "standard", "guidance": 1.0},
    "pairs": {"base": "pairs", "guidance": 1.0},
}


@pytest.mark.parametrize("name", FITS)
def test_log_likelihood_is_near_the_truth_and_estimators_agree(linear, name):
    source, target, x, y = linear
    bridge = LatentBridge(source, target, **FITS[name]).fit((x[:600], y[:600]))
    held = slice(600, 660)
    truth = _true_log_likelihood(source, target, x[held], y[held])
    grid = bridge.log_likelihood(x[held], y[held], "grid")
    drawn = bridge.log_likelihood(x[held], y[held], n_draws=1000)
    # What is learned differs from the truth by a learner's error; the estimators differ by their own errors alone.
    assert abs(grid.mean - float(truth.mean())) < (0.35 if name == "gaussian" else 0.12)
    assert abs(grid.mean - drawn.mean) < 3 * (drawn.interval[1] - drawn.interval[0]) / 2 + 2e-3


def test_the_document_s_estimator_is_unbiased_for_draws_of_the_conditional(linear):
    source, target, x, y = linear
    bridge = LatentBridge(source, target).fit((x[:600], y[:600]))
    held = slice(600, 630)
    estimate = bridge.log_likelihood(x[held], y[held], "conditional", 2000)
    grid = bridge.log_likelihood(x[held], y[held], "grid")
    assert abs(estimate.mean - grid.mean) < 0.15


def test_both_directions_are_the_same_code(linear):
    source, target, x, y = linear
    there = LatentBridge(source, target).fit((x[:400], y[:400]))
    back = LatentBridge(target, source).fit((y[:400], x[:400]))
    for bridge, given, wanted in ((there, x, y), (back, y, x)):
        error = (bridge.predict(given[600:]) - wanted[600:]).square().mean()
        assert error < 0.75 * wanted[600:].var()


def test_the_reverse_divergence_seeks_one_mode_and_the_forward_one_covers_both():
    # One source datum, two far targets: the reverse divergence must come out narrower.
    generator = torch.Generator().manual_seed(0)
    model = Exact(torch.eye(1), 0.5)
    x = torch.randn(400, 1, generator=generator) * 0.05
    y = torch.where(torch.rand(400, 1, generator=generator) < 0.5, -1.5, 1.5)
    spreads = {}
    for divergence in ("forward", "reverse"):
        bridge = LatentBridge(model, model, family="gaussian", divergence=divergence, updates=500).fit((x, y))
        spreads[divergence] = float(bridge.draw_latents(x[:1], 2000).std())
    assert spreads["forward"] > 1.0
    assert spreads["reverse"] < 0.7
    mixture = LatentBridge(model, model, family="mixture", n_components=2, updates=500).fit((x, y))
    draws = mixture.draw_latents(x[:1], 2000).flatten()
    assert float(((draws.abs() > 0.6) & (draws.abs() < 1.9)).float().mean()) > 0.7


def test_guidance_pushes_draws_to_what_names_the_source(linear):
    source, target, x, y = linear
    plain = LatentBridge(source, target).fit((x[:400], y[:400]))
    guided = LatentBridge(source, target, guidance=4.0).fit((x[:400], y[:400]))
    back = LatentBridge(target, source).fit((y[:400], x[:400]))
    errors = [
        (back.predict(bridge.sample(x[600:620], 40).flatten(0, 1)).reshape(40, 20, 5) - x[600:620]).square().mean()
        for bridge in (plain, guided)
    ]
    assert errors[1] < 0.8 * errors[0]


class Labels:
    """A user's own model of three labels on a line: the protocol, and nothing inherited."""

    centres = torch.tensor([[-1.5], [0.0], [1.5]])

    def posterior(self, y):
        return Independent(Normal(self.centres[y], torch.full((len(y), 1), 0.3)), 1)

    def likelihood(self, z):
        return Categorical(logits=-4 * (z - self.centres[:, 0]).square())


def test_a_user_s_own_model_of_categories_is_joined_both_ways():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (300,), generator=generator)
    x = torch.randn(3, 6, generator=generator)[y] * 2 + 0.5 * torch.randn(300, 6, generator=generator)
    voxels, labels = ProbabilisticPCA(2).fit(x), Labels()
    to_labels = LatentBridge(voxels, labels).fit((x[:200], y[:200]))
    assert (to_labels.predict(x[200:]) == y[200:]).float().mean() > 0.95
    assert to_labels.log_likelihood(x[200:], y[200:]).mean > -0.4
    to_voxels = LatentBridge(labels, voxels).fit((y[:200], x[:200]))
    made = to_voxels.sample(torch.arange(3), 50)
    assert made.shape == (50, 3, 6)
    means = torch.stack([x[y == label].mean(0) for label in range(3)])
    assert (made.mean(0) - means).abs().max() < 0.6


def test_a_guided_density_integrates_to_one(linear):
    source, target, x, y = linear
    bridge = LatentBridge(source, target, guidance=2.0).fit((x[:300], y[:300]))
    axis = torch.linspace(-5, 5, 81)
    grid = torch.cartesian_prod(axis, axis)[:, None].expand(-1, 2, -1)
    total = bridge.log_density(x[600:602])(grid).exp().sum(0) * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(total, torch.ones(2), atol=0.1, rtol=0)


def test_a_guided_likelihood_is_known_where_no_draw_of_the_base_fits_the_source():
    # Target and source are the same, almost without noise, in twelve latents: p(y|x) is N(y; x, about 2 noise^2).
    many = torch.randn(400, 12, generator=torch.Generator().manual_seed(0))
    model = Exact(torch.eye(12), 0.05)
    bridge = LatentBridge(model, model, family="linear", base="standard", guidance=1.0).fit((many[:300], many[:300]))
    held = many[300:310]
    told = bridge.log_likelihood(held, held).mean
    # z given x has variance r^2 = 1 / (1 + 1 / 0.05^2); y given z has 0.05^2.
    spread = 1 / (1 + 1 / 0.05**2)
    truth = Independent(Normal(held * (1 - spread), (spread + 0.05**2) ** 0.5), 1).log_prob(held).mean()
    assert abs(told - float(truth)) < 0.5


def test_draws_of_a_likelihood_lie_where_the_condition_puts_them():
    # The source knows the target's latents to 0.1 and is 3 away from the prior's middle; y itself says little.
    generator = torch.Generator().manual_seed(0)
    source, target = Exact(torch.eye(8), 0.05), Exact(torch.eye(8), 2.0)
    z = 3 + 0.5 * torch.randn(400, 8, generator=generator)
    x, y = z + 0.05 * torch.randn(400, 8, generator=generator), z + 2 * torch.randn(400, 8, generator=generator)
    bridge = LatentBridge(source, source, family="linear").fit((x[:300], z[:300]))
    bridge.target = target
    estimate = bridge.log_likelihood(x[300:340], y[300:340])
    assert float(estimate.effective.median()) > 200
    several = LikelihoodEstimate.join(
        [bridge.log_likelihood(x[part], y[part]) for part in (slice(300, 320), slice(320, 340))]
    )
    assert abs(several.mean - estimate.mean) < 0.1


def test_more_samples_than_go_at_once_are_all_told(linear, monkeypatch):
    source, target, x, y = linear
    bridge = LatentBridge(source, target).fit((x[:200], y[:200]))
    whole = bridge.log_likelihood(x[600:630], y[600:630], "grid")
    monkeypatch.setattr("brainpred.models.bridge.SAMPLES_AT_ONCE", 7)
    parts = bridge.log_likelihood(x[600:630], y[600:630], "grid")
    assert parts.values.shape == (30,)
    torch.testing.assert_close(parts.values, whole.values, atol=0.2, rtol=0)


def test_targets_of_double_precision_serve(linear):
    source, target, x, y = linear
    double = Exact(target.weights.double())
    for family in ("joint", "gaussian", "linear"):
        bridge = LatentBridge(source, target, family=family, updates=50).fit((x[:200], y[:200]))
        plain = bridge.log_likelihood(x[600:620], y[600:620]).mean
        bridge.target = double
        assert abs(bridge.log_likelihood(x[600:620], y[600:620].double()).mean - plain) < 0.05


def test_repeats_do_not_choose_what_remembers_them_in_the_linear_family(linear):
    # Few sources, each shown five times: left out alone, each would be known from its repeats.
    source, target, x, _ = linear
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(12).repeat_interleave(5)
    unrelated = torch.randn(12, 7, generator=generator)[groups] + 0.1 * torch.randn(60, 7, generator=generator)
    fits = [
        LatentBridge(source, target, family="linear").fit((x[:12][groups], unrelated), groups=numbers)
        for numbers in (groups, None)
    ]
    spread = [float(bridge.predict_latents(x[100:200]).std(dim=0).mean()) for bridge in fits]
    assert spread[0] < 0.5 * spread[1]


@pytest.mark.parametrize("name", ["gaussian", "bayes, joint"])
def test_intervals_know_the_draws_that_all_samples_share(linear, name):
    # Densities are averages over draws of the source's latents, divided by a normaliser that is drawn, too.
    source, target, x, y = linear
    bridge = LatentBridge(source, target, **FITS[name]).fit((x[:300], y[:300]))
    held = slice(600, 606)
    estimates = []
    for seed in range(15):
        bridge.settings = replace(bridge.settings, seed=seed)
        estimates.append(bridge.log_likelihood(x[held], y[held], "grid"))
    told = torch.stack([estimate.values for estimate in estimates])
    truth = float(told.mean(dim=1).mean())
    inside = [low < truth < high for low, high in (estimate.interval for estimate in estimates)]
    assert sum(inside) >= 13
    errors = torch.stack([estimate.errors for estimate in estimates]).square().mean(dim=0).sqrt()
    torch.testing.assert_close(errors, told.std(dim=0), rtol=0.5, atol=0)


def test_the_same_source_given_twice_has_draws_of_its_own_and_one_density(linear):
    source, target, x, y = linear
    bridge = LatentBridge(source, target, guidance=2.0).fit((x[:200], y[:200]))
    twice = x[[600, 601, 600]]
    draws = bridge.draw_latents(twice, 300)
    assert not torch.isclose(draws[:, 0], draws[:, 2]).all(dim=1).any()
    torch.testing.assert_close(draws[:, 0].mean(0), draws[:, 2].mean(0), atol=0.2, rtol=0)
    density = bridge.log_density(twice)(draws[:5, :1].expand(-1, 3, -1))
    torch.testing.assert_close(density[:, 0], density[:, 2])
    assert not torch.isclose(density[:, 0], density[:, 1]).any()


@pytest.mark.parametrize("name", [*FITS, "mixture", "guided by a network"])
def test_a_saved_bridge_gives_the_same_draws(linear, name, tmp_path):
    source, target, x, y = linear
    more = {
        "mixture": {"family": "mixture", "updates": 20},
        "guided by a network": {"guidance": 2.0, "guide": "mixture", "updates": 20},
    }
    options = {**FITS, **more}[name]
    bridge = LatentBridge(source, target, **options).fit((x[:100], y[:100]))
    bridge.save(tmp_path / "bridge.safetensors")
    loaded = LatentBridge.load(tmp_path / "bridge.safetensors", source, target)
    torch.testing.assert_close(loaded.sample(x[:3], 5), bridge.sample(x[:3], 5), rtol=0, atol=1e-5)
    assert loaded.settings == bridge.settings


def test_a_file_of_something_else_is_told(linear, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"?")
    with pytest.raises(CheckpointError, match="does not hold a latent bridge"):
        LatentBridge.load(tmp_path / "x.safetensors", *linear[:2])


def test_models_of_other_sizes_are_told_when_loading(linear, tmp_path):
    _, target, x, y = linear
    small = ProbabilisticPCA(1).fit(x)
    for options in ({}, {"family": "linear"}, {"base": "standard", "guidance": 1.0}):
        LatentBridge(small, target, **options).fit((x[:60], y[:60])).save(tmp_path / "bridge.safetensors")
        LatentBridge.load(tmp_path / "bridge.safetensors", small, target)
        with pytest.raises(CheckpointError, match="source of this bridge has 1 latents"):
            LatentBridge.load(tmp_path / "bridge.safetensors", target, small)


def test_arrays_that_are_no_tensors_are_told(linear):
    source, target, x, y = linear
    with pytest.raises(DataError, match=r"expected a torch tensor, received ndarray.*from_numpy\(array\)\.float"):
        LatentBridge(source, target).fit((x[:20].numpy(), y[:20]))
    with pytest.raises(DataError, match="expected a torch tensor, received ndarray"):
        ProbabilisticPCA(1).fit(x.numpy())
    with pytest.raises(DataError, match=r"shape \(20, 5\) \(torch\.float64"):
        LatentBridge(source, target).fit((x[:20].double(), y[:20]))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"family": "forest"}, "Unknown family 'forest'"),
        ({"divergence": "sideways"}, "Unknown divergence 'sideways'"),
        ({"base": "flat"}, "Unknown base 'flat'"),
        ({"guide": "dog"}, "Unknown guide 'dog'"),
        ({"divergence": "reverse"}, "reverse is for networks"),
        ({"base": "standard"}, "guidance must be above 0"),
        ({"guidance": -1.0}, "guidance must be above 0"),
        ({"updates": 0}, "1 or more"),
    ],
)
def test_options_that_cannot_be_are_refused(linear, options, match):
    with pytest.raises(ConfigError, match=match):
        LatentBridge(*linear[:2], **options)


def test_bad_pairs_are_told(linear):
    source, target, x, y = linear
    bridge = LatentBridge(source, target)
    with pytest.raises(ConfigError, match="not fitted yet"):
        bridge.sample(x[:2], 3)
    with pytest.raises(DataError, match="received 20 of the source and 19"):
        bridge.fit((x[:20], y[:19]))
    with pytest.raises(DataError, match="8 pairs or more, received 7"):
        bridge.fit((x[:7], y[:7]))
    broken = x[:20].clone()
    broken[3, 1] = torch.nan
    with pytest.raises(DataError, match="source hold 1 values that are not finite"):
        bridge.fit((broken, y[:20]))
    with pytest.raises(DataError, match=r"target's model cannot infer latents from data of shape \(20, 5\)"):
        bridge.fit((x[:20], x[:20]))
    with pytest.raises(DataError, match=r"\(data of -.*\): 20 of 20 posteriors are degenerate"):
        LatentBridge(Certain(source.weights), target).fit((x[:20], y[:20]))
    fitted = bridge.fit((x[:50], y[:50]))
    with pytest.raises(ConfigError, match="Unknown estimator 'guess'"):
        fitted.log_likelihood(x[:5], y[:5], "guess")
    with pytest.raises(DataError, match="received 5 of the source and 4"):
        fitted.log_likelihood(x[:5], y[:4])


def test_fewer_pairs_than_categories_are_told():
    class Many(Labels):
        centres = torch.linspace(-2, 2, 12)[:, None]

    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DataError, match="12 categories: 9 pairs"):
        LatentBridge(ProbabilisticPCA(1).fit(x), Many()).fit((x, torch.arange(9)))
