"""Weights in the layout of PredNet's authors give the network that loops make of the same kernels."""

import h5py
import numpy as np
import pytest
import torch

from brainpred.errors import CheckpointError, ConfigError
from brainpred.models.prednet import PredNet
from brainpred.models.prednet_keras import load_keras_prednet
from brainpred.models.prednet_weights import read_frame_size
from tests.reference.prednet_reference import prednet_reference

CHANNELS = (3, 4, 5, 7)
CONVOLUTIONS = ("a", "ahat", "c", "f", "i", "o")


def keras_weights(channels=CHANNELS, seed=0, scale=0.4):
    """Draw a kernel (height, width, in, out) and a bias for every convolution, in the order of the authors' file."""
    rng = np.random.default_rng(seed)
    weights = {}
    for convolution in CONVOLUTIONS:
        for layer, n_channels in enumerate(channels):
            last = layer == len(channels) - 1
            if convolution == "a" and last:
                continue
            n_in, n_out = {
                "a": (2 * n_channels, channels[layer if last else layer + 1]),
                "ahat": (n_channels, n_channels),
            }.get(convolution, (3 * n_channels + (0 if last else channels[layer + 1]), n_channels))
            kernel, bias = rng.normal(0, scale, (3, 3, n_in, n_out)), rng.normal(0, scale, n_out)
            weights[convolution, layer] = kernel.astype(np.float32), bias.astype(np.float32)
    return weights


def keras_2_names(weights):
    """Name arrays as Keras 2 does, in a group a convolution."""
    return [f"pred_net_1/layer_{name}_{layer}/{part}:0" for name, layer in weights for part in ("kernel", "bias")]


def keras_1_names(weights):
    """Number the convolutions as they were made; sorted by name, they come in another order."""
    return [f"convolution2d_{number}_{part}" for number in range(len(weights), 0, -1) for part in "Wb"]


def texts(strings, kind):
    return np.array(strings, dtype="S" if kind is bytes else h5py.string_dtype())


def write_keras(path, weights, *, names=keras_2_names, kind=bytes, root="/", prednets=("pred_net_1",)):
    """Write the layers of the authors' network: input, PredNet, and those that turn errors into the loss."""
    rng = np.random.default_rng(99)
    others = {
        "input_1": [],
        "time_distributed_1": [("dense_0/kernel:0", rng.normal(size=(4, 1))), ("dense_0/bias:0", rng.normal(size=1))],
        "flatten_1": [],
        "dense_1": [("dense_1/kernel:0", rng.normal(size=(9, 1))), ("dense_1/bias:0", rng.normal(size=1))],
    }
    arrays = [array for pair in weights.values() for array in pair]
    layers = {"input_1": others["input_1"]}
    layers |= {name: list(zip(names(weights), arrays, strict=True)) for name in prednets}
    layers |= others
    with h5py.File(path, "w") as file:
        top = file.require_group(root)
        top.attrs["layer_names"] = texts(list(layers), kind)
        top.attrs["backend"] = "tensorflow"
        top.attrs["keras_version"] = "2.0.8"
        for layer, content in layers.items():
            group = top.create_group(layer)
            # Keras writes an empty array of numbers for a layer without weights.
            group.attrs["weight_names"] = texts([name for name, _ in content], kind) if content else np.zeros(0)
            for name, array in content:
                group[name] = array
    return path


def reference_of(weights, frames):
    """Evaluate loops over the kernels, output channels first as the reference takes them."""
    kernels = {}
    for key, (kernel, bias) in weights.items():
        turned = np.empty((kernel.shape[3], kernel.shape[2], 3, 3))
        for row, column in np.ndindex(3, 3):
            turned[:, :, row, column] = kernel[row, column].T
        kernels[key] = turned, bias.astype(np.float64)
    movies = [prednet_reference(movie.double().numpy(), kernels) for movie in frames]
    return {unit: np.stack([movie[unit] for movie in movies]) for unit in movies[0]}


def assert_follows_reference(network, weights, height, width, n_movies=2):
    frames = torch.rand(n_movies, 3, 3, height, width, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        outputs, _ = network.double().run(frames, network.units)
    expected = reference_of(weights, frames)
    assert set(outputs) == set(expected)
    for unit, values in expected.items():
        np.testing.assert_allclose(outputs[unit].numpy(), values, rtol=1e-10, atol=1e-10, err_msg=unit)
        assert values.std() > 1e-3, f"{unit} would be the same with other weights"


@pytest.mark.parametrize(("names", "kind"), [(keras_2_names, bytes), (keras_2_names, str), (keras_1_names, bytes)])
@pytest.mark.parametrize("root", ["/", "model_weights"])
def test_every_unit_follows_loops_over_the_files_kernels(tmp_path, names, kind, root):
    weights = keras_weights()
    network = load_keras_prednet(write_keras(tmp_path / "w.hdf5", weights, names=names, kind=kind, root=root))
    assert network.channels == CHANNELS
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert_follows_reference(network, weights, 8, 16)


@pytest.mark.parametrize("channels", [(3,), (3, 7), (3, 7, 4)])
def test_networks_of_other_depths_are_read(tmp_path, channels):
    weights = keras_weights(channels, seed=2)
    network = PredNet.from_keras(str(write_keras(tmp_path / "w.hdf5", weights)))
    assert network.channels == channels
    assert_follows_reference(network, weights, 4, 12)


def test_layers_may_come_in_any_order(tmp_path):
    path = write_keras(tmp_path / "w.hdf5", keras_weights())
    first = load_keras_prednet(path).state_dict()
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = file.attrs["layer_names"][::-1]
    again = load_keras_prednet(path).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def test_double_precision_weights_are_read_as_single(tmp_path):
    weights = keras_weights(CHANNELS[:2])
    double = {key: tuple(array.astype(np.float64) for array in pair) for key, pair in weights.items()}
    first, second = (
        load_keras_prednet(write_keras(tmp_path / f"{name}.hdf5", content)).state_dict()
        for name, content in (("single", weights), ("double", double))
    )
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())


def test_file_of_the_published_size_holds_46_arrays_and_gives_the_published_network(tmp_path):
    weights = keras_weights((3, 48, 96, 192))
    path = write_keras(tmp_path / "prednet_kitti_weights.hdf5", weights)
    with h5py.File(path) as file:
        assert len(file["pred_net_1"].attrs["weight_names"]) == 46
    network = PredNet.from_keras(path)
    assert network.channels == (3, 48, 96, 192)
    assert sum(parameter.numel() for parameter in network.parameters()) == 6_915_948


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.hdf5 do not exist"):
        load_keras_prednet(tmp_path / "nowhere.hdf5")


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7])
def test_truncated_file_is_refused(tmp_path, kept):
    path = write_keras(tmp_path / "w.hdf5", keras_weights())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match=r"w\.hdf5 is not a Keras weights file"):
        load_keras_prednet(path)


def test_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "w.hdf5"
    path.write_text("not weights, however long this line may become " * 9)
    with pytest.raises(CheckpointError, match=r"w\.hdf5 is not a Keras weights file .*Expected HDF5"):
        load_keras_prednet(path)


@pytest.mark.parametrize("root", ["/", "model_weights"])
def test_file_without_layer_names_is_refused(tmp_path, root):
    path = write_keras(tmp_path / "w.hdf5", keras_weights(), root=root)
    with h5py.File(path, "a") as file:
        del file[root].attrs["layer_names"]
    with pytest.raises(CheckpointError, match=r"not a Keras weights file .*layer_names at its root or in"):
        load_keras_prednet(path)


def test_named_array_that_is_not_there_is_refused(tmp_path):
    path = write_keras(tmp_path / "w.hdf5", keras_weights())
    with h5py.File(path, "a") as file:
        del file["pred_net_1/pred_net_1/layer_f_2/bias:0"]
    with pytest.raises(CheckpointError, match=r"not a Keras weights file .*bias:0"):
        load_keras_prednet(path)


def test_file_without_a_prednet_is_refused_with_its_layers(tmp_path):
    path = write_keras(tmp_path / "w.hdf5", keras_weights(), prednets=())
    with pytest.raises(CheckpointError, match=r"holds 0 layers that could be a PredNet.*46") as caught:
        load_keras_prednet(path)
    for layer in ("input_1 (0)", "time_distributed_1 (2)", "flatten_1 (0)", "dense_1 (2)"):
        assert layer in str(caught.value)


def test_prednet_with_an_array_too_few_is_refused_with_its_layers(tmp_path):
    path = write_keras(tmp_path / "w.hdf5", keras_weights())
    with h5py.File(path, "a") as file:
        attributes = file["pred_net_1"].attrs
        attributes["weight_names"] = attributes["weight_names"][:-1]
    with pytest.raises(CheckpointError, match=r"holds 0 layers .*pred_net_1 \(45\)"):
        load_keras_prednet(path)


def test_file_with_two_prednets_is_refused(tmp_path):
    path = write_keras(tmp_path / "w.hdf5", keras_weights(), prednets=("pred_net_1", "pred_net_2"))
    with pytest.raises(CheckpointError, match=r"holds 2 layers .*pred_net_1 \(46\), pred_net_2 \(46\)"):
        load_keras_prednet(path)


@pytest.mark.parametrize("channels", [CHANNELS, (3, 3)])
def test_theano_ordering_is_refused(tmp_path, channels):
    weights = {key: (kernel.transpose(3, 2, 0, 1), bias) for key, (kernel, bias) in keras_weights(channels).items()}
    with pytest.raises(CheckpointError, match=r"'a' of layer 0 .*Only TensorFlow ordering"):
        load_keras_prednet(write_keras(tmp_path / "w.hdf5", weights))


@pytest.mark.parametrize("convolution", [("a", 1), ("ahat", 2), ("c", 0), ("o", 3)])
@pytest.mark.parametrize("change", [-1, 1])
def test_bias_of_a_wrong_length_is_refused(tmp_path, convolution, change):
    weights = keras_weights()
    kernel, bias = weights[convolution]
    weights[convolution] = kernel, np.resize(bias, len(bias) + change)
    with pytest.raises(CheckpointError, match=r"convolution '\w+' of layer \d has a kernel .* and a bias of"):
        load_keras_prednet(write_keras(tmp_path / "w.hdf5", weights))


def test_kernels_in_another_order_are_refused(tmp_path):
    weights = keras_weights()
    weights["f", 1], weights["f", 2] = weights["f", 2], weights["f", 1]
    expected = r"'f' of layer 1 has .*\(3, 3, 22, 5\) and a bias of \(5,\); expected \(3, 3, 17, 4\)"
    with pytest.raises(CheckpointError, match=expected):
        load_keras_prednet(write_keras(tmp_path / "w.hdf5", weights))


@pytest.mark.parametrize("values", [(np.nan,), (np.inf, np.nan, -np.inf)])
def test_weights_that_are_no_numbers_are_refused_with_their_count(tmp_path, values):
    weights = keras_weights()
    weights["i", 2][0].flat[7 : 7 + len(values)] = values
    with pytest.raises(CheckpointError, match=f"holds {len(values)} weights that are no numbers"):
        load_keras_prednet(write_keras(tmp_path / "w.hdf5", weights))


@pytest.mark.parametrize(("options", "size"), [((), (128, 160)), (("--size", "24x40"), (24, 40))])
def test_command_line_turns_the_file_into_one_of_its_own(tmp_path, run, options, size):
    weights = keras_weights()
    path, out = write_keras(tmp_path / "w.hdf5", weights), tmp_path / "new" / "folder"
    code, text, error = run("train", "prednet", "--import-keras", path, "--out", out, *options)
    assert (code, error) == (0, "")
    assert "prednet_imported.safetensors" in text.replace("\n", "")
    assert sorted(file.name for file in out.iterdir()) == ["prednet_imported.md", "prednet_imported.safetensors"]
    assert "Lotter, Kreiman and Cox" in (out / "prednet_imported.md").read_text()
    assert read_frame_size(out / "prednet_imported.safetensors") == size
    assert_follows_reference(PredNet.from_pretrained(out / "prednet_imported.safetensors"), weights, 8, 16, n_movies=1)


def test_command_line_refuses_what_it_cannot_import_and_writes_nothing(tmp_path, run):
    path, out = write_keras(tmp_path / "w.hdf5", keras_weights()), tmp_path / "out"
    damaged = tmp_path / "damaged.hdf5"
    damaged.write_bytes(path.read_bytes()[:999])
    for arguments, expected_code, message in (
        ((tmp_path / "nowhere.hdf5",), 2, "do not exist"),
        ((damaged,), 1, "not a Keras weights file"),
        ((path, "--size", "100x160"), 1, "multiples of 8, received 100x160"),
        ((path, "--size", "large"), 2, "HEIGHTxWIDTH"),
    ):
        code, text, error = run("train", "prednet", "--import-keras", *arguments, "--out", out)
        assert (code, text) == (expected_code, "")
        assert message in error
        assert not out.exists()
