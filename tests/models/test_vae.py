"""The autoencoders: both distributions, divergence against quadrature, files."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from brainpred.errors import CheckpointError, ConfigError
from brainpred.models.vae import SHIPPED, VAE, VAEConfig, load_vae, save_vae
from brainpred.training.vae import ArrayBatches

CONFIGS = {
    "digits": VAEConfig("digits", 5, (13, 7)),
    "labels": VAEConfig("labels", 2, (11,)),
    "frames": VAEConfig("frames", 6, (5, 7), (12, 20)),
}
DATA = {"digits": torch.rand(3, 28, 28), "labels": torch.tensor([0, 9, 4]), "frames": torch.rand(3, 3, 12, 20)}


@pytest.mark.parametrize("kind", CONFIGS)
def test_both_distributions_fit_their_data(kind):
    torch.manual_seed(0)
    vae = VAE(CONFIGS[kind])
    q = vae.posterior(DATA[kind])
    assert q.batch_shape == (3,)
    assert q.event_shape == (vae.n_latent,)
    z = torch.randn(4, 3, vae.n_latent)
    assert vae.likelihood(z).log_prob(DATA[kind]).shape == (4, 3)
    torch.testing.assert_close(vae.likelihood(z[1]).log_prob(DATA[kind]), vae.likelihood(z).log_prob(DATA[kind])[1])
    expected = kl_divergence(q.base_dist, Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(vae.divergence(q), expected)


@pytest.mark.parametrize("half", [False, True])
def test_files_hold_sizes_and_weights(tmp_path, half):
    vae = VAE(CONFIGS["frames"]).eval()
    save_vae(vae, tmp_path / "vae.safetensors", half=half)
    loaded = load_vae(tmp_path / "vae.safetensors")
    assert loaded.config == vae.config
    tolerance = 1e-2 if half else 0
    torch.testing.assert_close(
        loaded.posterior(DATA["frames"]).mean, vae.posterior(DATA["frames"]).mean, atol=tolerance, rtol=tolerance
    )


def test_damaged_and_missing_files_are_told(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="does not hold VAE weights"):
        load_vae(tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="digits, digits_3_epochs, labels"):
        load_vae("faces")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("voices", 2, (3,)), "Unknown data 'voices'"),
        (("digits", 0, (3,)), "received 0 and"),
        (("frames", 2, (3, 4), (12, 18)), "multiples of 4"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        VAEConfig(*options)


def test_those_that_ship_are_what_document_002_asks_for():
    models = {name: load_vae(name) for name in SHIPPED}
    assert {name: model.n_latent for name, model in models.items()} == {
        "digits": 64,
        "digits_3_epochs": 64,
        "labels": 2,
    }
    labels = torch.arange(10)
    made = models["labels"].likelihood(models["labels"].posterior(labels).mean)
    assert (made.probs.argmax(1) == labels).all()


def test_batches_show_every_sample_once_an_epoch_and_depend_on_seed_and_epoch_alone():
    batches = ArrayBatches(torch.arange(23), 5, seed=3)
    first = torch.cat([batches[i] for i in range(len(batches))])
    assert len(first) == len(set(first.tolist())) == 20
    assert torch.equal(batches[2], ArrayBatches(torch.arange(23), 5, seed=3)[2])
    batches.epoch = 1
    assert not torch.equal(first, torch.cat([batches[i] for i in range(len(batches))]))
