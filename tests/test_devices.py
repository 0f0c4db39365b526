"""A device choice becomes a device that exists, or an error that says why not."""

import pytest
import torch

from brainpred.devices import DEVICE_CHOICES, resolve_device
from brainpred.errors import ConfigError


def test_cpu_is_always_there():
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_the_gpu_if_there_is_one(monkeypatch, available, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device("auto") == resolve_device() == torch.device(expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r"no usable GPU .*--device cpu or auto"):
        resolve_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_cuda_with_a_gpu_is_given():
    assert resolve_device("cuda").type == "cuda"


@pytest.mark.parametrize("device", ["gpu", "cuda:0", "CPU", ""])
def test_unknown_device_is_refused_with_the_choices(device):
    with pytest.raises(ConfigError, match=f"Unknown device '{device}'") as caught:
        resolve_device(device)
    for choice in DEVICE_CHOICES:
        assert choice in str(caught.value)
