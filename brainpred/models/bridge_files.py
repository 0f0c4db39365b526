"""Save and load what a latent bridge has learned, without the two models that it joins."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from brainpred.errors import BrainpredError, CheckpointError
from brainpred.models.bridge import LatentBridge
from brainpred.models.conditionals import LinearConditional, NetworkConditional
from brainpred.models.inference import latent_features
from brainpred.models.joint_mixture import JointMixture
from brainpred.models.latent_models import LatentModel
from brainpred.models.weights_files import read_header, write_weights

__all__ = ["load_bridge", "save_bridge"]


def save_bridge(bridge: LatentBridge, path: Path | str) -> None:
    """Write a fitted bridge as safetensors, with its settings in the header.

    Parameters
    ----------
    bridge : LatentBridge
        A bridge that is fitted. Its source and target are not saved.
    path : Path or str
        File to write.
    """
    state = bridge.fitted_state()
    header: dict[str, Any] = {
        "settings": asdict(bridge.settings), "chosen": bridge.chosen_, "n_latent": state.n_latent, "parts": {}
    }  # fmt: skip
    tensors = {"prior.mean": state.prior[0], "prior.factor": state.prior[1]}
    for name, part in (("forward", state.forward), ("backward", state.backward)):
        if part is None:
            continue
        kind: dict[str, Any] = {"kind": type(part).__name__}
        if isinstance(part, JointMixture):
            kind["n_given"] = part.n_given
        if isinstance(part, NetworkConditional):
            kind |= {"n_from": part.n_from, "n_to": part.n_to, "n_components": part.n_components}
        header["parts"][name] = kind
        tensors |= {f"{name}.{key}": tensor for key, tensor in part.state_dict().items()}
    write_weights(tensors, path, ("bridge", header))


def load_bridge(path: Path | str, source: LatentModel, target: LatentModel) -> LatentBridge:
    """Load a bridge that :func:`save_bridge` wrote.

    Parameters
    ----------
    path : Path or str
        The file.
    source, target : LatentModel
        The very models that it was fitted to join, which are not in the file: keep them beside it. Others of as many
        latents cannot be told from them, and give nonsense.

    Returns
    -------
    LatentBridge
        The bridge, fitted; it has no learning curve.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or holds something else, or if a model has another number of latents.
    """
    try:
        header = read_header(path, "bridge")
        tensors = safetensors.torch.load_file(path)
        bridge = LatentBridge(source, target, **header["settings"])
        parts = {
            name: _build(header["parts"].get(name), name, tensors, model)
            for name, model in (("forward", source), ("backward", target))
        }
        prior = (tensors["prior.mean"], tensors["prior.factor"])
        n_latent = tuple(header["n_latent"])
    except (BrainpredError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"{path} does not hold a latent bridge written by brainpred ({error}). Fit and save it again."
        ) from error
    for which, model, wanted in zip(("source", "target"), (source, target), n_latent, strict=True):
        _check_latents(which, model, wanted)
    return bridge.take(parts["forward"], parts["backward"], prior, header["chosen"], n_latent)


def _check_latents(which: str, model: LatentModel, n_latent: int) -> None:
    """Refuse a model that does not generate from as many latents as the bridge was fitted to."""
    try:
        with torch.no_grad():
            model.likelihood(torch.zeros(1, n_latent))
    except (RuntimeError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"The {which} of this bridge has {n_latent} latents, and the model given generates nothing from as many "
            f"({error}). Give the models that it was fitted to, in the same order."
        ) from error


def _build(kind: Mapping[str, Any] | None, name: str, tensors: Mapping[str, Tensor], model: LatentModel) -> Any:
    """Build one conditional from its tensors; ``model`` is that of the latents given."""
    if kind is None:
        return None
    own = {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
    if kind["kind"] == "JointMixture":
        return JointMixture(own["weights"], own["means"], own["covariances"], kind["n_given"])
    if kind["kind"] == "LinearConditional":
        return LinearConditional(latent_features(model), own["weights"], own["intercept"], own["covariance"])
    network: nn.Module = NetworkConditional(kind["n_from"], kind["n_to"], kind["n_components"])
    network.load_state_dict(own)
    return network.eval().requires_grad_(False)
