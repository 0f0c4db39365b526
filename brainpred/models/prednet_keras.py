"""Read the weights that the authors of PredNet published: Keras 2 HDF5, TensorFlow ordering."""

from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.errors import CheckpointError, ConfigError
from brainpred.models.prednet import PredNet

__all__ = ["load_keras_prednet"]

KERNEL = 3


def load_keras_prednet(path: str | Path) -> PredNet:
    """Load a PredNet from a Keras weights file (or whole-model file) in the layout of the authors' code.

    The layer's arrays are taken in the order of its ``weight_names``: for each of the convolutions a, ahat,
    c, f, i, o, and for each layer from the lowest, the kernel (height, width, in, out) and the bias. Names are
    not looked at, since they vary with the version of Keras; shapes are.

    Parameters
    ----------
    path : str or Path
        HDF5 file.

    Returns
    -------
    PredNet
        The network for inference (evaluation mode, weights without gradients), on the CPU.

    Raises
    ------
    ConfigError
        If the file does not exist.
    CheckpointError
        If it is no such file, or its arrays do not make a PredNet; the message says why.

    References
    ----------
    Lotter, Kreiman and Cox, ICLR 2017; layout of the weights released with it.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"Keras weights {path} do not exist.")
    arrays = _read_arrays(path)
    n_layers = (len(arrays) + 2) // 12
    channels = [arrays[2 * (n_layers - 1) + 2 * layer + 1].size for layer in range(n_layers)]  # biases of ahat
    network = PredNet(channels)
    weights: dict[str, Tensor] = {}
    gates: dict[str, dict[str, list[Tensor]]] = {}
    remaining = iter(arrays)
    for convolution in ("a", "ahat", "c", "f", "i", "o"):
        for layer in range(n_layers - 1 if convolution == "a" else n_layers):
            module = {"a": network.update, "ahat": network.predict}.get(convolution, network.gates)[layer]
            n_in = module.in_channels
            n_out = module.out_channels if convolution in ("a", "ahat") else channels[layer]
            kernel, bias = next(remaining), next(remaining)
            expected = ((KERNEL, KERNEL, n_in, n_out), (n_out,))
            if (kernel.shape, bias.shape) != expected:
                raise CheckpointError(
                    f"{path}: convolution {convolution!r} of layer {layer} has a kernel of shape {kernel.shape} and a "
                    f"bias of {bias.shape}; expected {expected[0]} (height, width, in, out) and {expected[1]} in a "
                    f"PredNet with {channels} channels. Only TensorFlow ordering and R as wide as A are read."
                )
            tensors = {
                "weight": torch.from_numpy(kernel).permute(3, 2, 0, 1).contiguous(),
                "bias": torch.from_numpy(bias),
            }
            for part, tensor in tensors.items():
                if convolution in ("a", "ahat"):
                    weights[f"{'update' if convolution == 'a' else 'predict'}.{layer}.{part}"] = tensor
                else:
                    gates.setdefault(f"gates.{layer}.{part}", {}).setdefault(convolution, []).append(tensor)
    for name, parts in gates.items():
        weights[name] = torch.cat([parts[gate][0] for gate in "ifoc"])
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def _read_arrays(path: Path) -> list[NDArray[np.float32]]:
    """Find the one group whose number of arrays makes a PredNet, and read them in their stated order."""
    try:
        with h5py.File(path) as file:
            root = file.get("model_weights", file)
            counts = {_text(name): len(root[_text(name)].attrs["weight_names"]) for name in root.attrs["layer_names"]}
            found = [name for name, count in counts.items() if count >= 10 and (count + 2) % 12 == 0]
            if len(found) != 1:
                listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
                raise CheckpointError(
                    f"{path} holds {len(found)} layers that could be a PredNet. Expected one with 12 L - 2 arrays "
                    f"(46 for four layers); found layers with so many arrays: {listed or 'none'}."
                )
            group = root[found[0]]
            arrays = [group[_text(name)][()].astype(np.float32) for name in group.attrs["weight_names"]]
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a Keras weights file ({error}). Expected HDF5 with the attribute layer_names at its root "
            "or in the group model_weights, such as prednet_kitti_weights.hdf5."
        ) from error
    broken = sum(int((~np.isfinite(array)).sum()) for array in arrays)
    if broken:
        raise CheckpointError(f"{path} holds {broken} weights that are no numbers; download it again.")
    return arrays


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
