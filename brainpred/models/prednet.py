"""PredNet, the predictive-coding video network (Lotter, Kreiman and Cox, 2017), in paper order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainpred.errors import ConfigError, DataError
from brainpred.models.upsampling import GateKernels, add_upsampled, gate_kernels

__all__ = ["PredNet", "PredNetState", "hard_sigmoid"]

UNIT_KINDS = ("R", "A", "Ahat", "E")


def hard_sigmoid(x: Tensor) -> Tensor:
    """Squash with ``clip(0.2 x + 0.5, 0, 1)``, the gate of the published network.

    This is Keras 2's hard sigmoid; :func:`torch.nn.functional.hardsigmoid` has slope 1/6 instead.

    Parameters
    ----------
    x : Tensor
        Any shape.

    Returns
    -------
    Tensor
        Same shape, in [0, 1].
    """
    half = torch.full((), 0.5, dtype=x.dtype, device=x.device)
    return torch.add(half, x, alpha=0.2).clamp(0.0, 1.0)  # one pass less than 0.2 * x + 0.5


class PredNetState(NamedTuple):
    """Hold what PredNet carries from one frame to the next; every list runs over the layers.

    Attributes
    ----------
    representation, cell : list of Tensor (n_movies, channels_l, height / 2**l, width / 2**l)
        R_l and the LSTM cell c_l.
    error : list of Tensor (n_movies, 2 channels_l, height / 2**l, width / 2**l)
        E_l.
    prediction : Tensor (n_movies, channels_0, height, width)
        Â_0, which becomes the input of the next frame when the network runs in closed loop.
    """

    representation: list[Tensor]
    cell: list[Tensor]
    error: list[Tensor]
    prediction: Tensor


class PredNet(nn.Module):
    r"""Predict the next frame of a movie by predictive coding.

    For every frame :math:`t` the network runs top-down, :math:`l = L-1 … 0`,

    .. math::
        u &= [R_l(t-1),\; E_l(t-1),\; \mathrm{Up}_2(R_{l+1}(t))] \\
        i, f, o &= \mathrm{hs}(W u + b), \qquad
        c_l = f\, c_l(t-1) + i \tanh(W_c u + b_c), \qquad R_l = o \tanh(c_l)

    and then bottom-up, :math:`l = 0 … L-1`, with :math:`A_0` the frame,

    .. math::
        \hat A_l = \mathrm{relu}(W R_l + b)\;\;(\hat A_0 \le 1), \qquad
        E_l = [\mathrm{relu}(\hat A_l - A_l),\; \mathrm{relu}(A_l - \hat A_l)], \qquad
        A_{l+1} = \mathrm{maxpool}_2(\mathrm{relu}(W E_l + b)).

    R(t) is computed before frame t is seen, so Â_0(t) is a prediction of frame t from the frames before
    it, and the first prediction comes from the biases alone.

    Parameters
    ----------
    channels : sequence of int
        Channels of A and R, one number a layer; the first is that of the movie. The published network
        is ``(3, 48, 96, 192)``, with 6,915,948 parameters.

    References
    ----------
    W. Lotter, G. Kreiman, D. Cox, "Deep predictive coding networks for video prediction and
    unsupervised learning", ICLR 2017, equations 1-4 and algorithm 1.

    Examples
    --------
    >>> sum(p.numel() for p in PredNet((3, 48, 96, 192)).parameters())
    6915948
    """

    def __init__(self, channels: Sequence[int] = (3, 48, 96, 192)):
        super().__init__()
        self.channels = tuple(int(c) for c in channels)
        if len(self.channels) < 1 or min(self.channels) < 1:
            raise ConfigError(f"PredNet needs at least one layer of at least one channel, received {channels}.")
        above = (*self.channels[1:], 0)
        # One convolution computes the three gates and the candidate, in the order i, f, o, c.
        self.gates = nn.ModuleList(
            nn.Conv2d(3 * c + up, 4 * c, 3, padding=1) for c, up in zip(self.channels, above, strict=True)
        )
        self.predict = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in self.channels)
        self.update = nn.ModuleList(
            nn.Conv2d(2 * below, c, 3, padding=1)
            for below, c in zip(self.channels[:-1], self.channels[1:], strict=True)
        )
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights as the published network did: Glorot uniform per gate, biases zero."""
        for convolution in self.modules():
            if isinstance(convolution, nn.Conv2d):
                nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
                nn.init.xavier_uniform_(convolution.weight)
        for gates in self.gates:
            for gate in gates.weight.chunk(4):  # type: ignore[operator,union-attr]
                nn.init.xavier_uniform_(gate)

    @staticmethod
    def from_pretrained(weights: str | Path = "small") -> "PredNet":
        """Load trained weights: those that ship, by name, or a file that brainpred wrote.

        Parameters
        ----------
        weights : str or Path
            As :func:`brainpred.models.prednet_weights.load_prednet`.

        Returns
        -------
        PredNet
            The network for inference (evaluation mode, weights without gradients), on the CPU.
        """
        from brainpred.models.prednet_weights import load_prednet

        return load_prednet(weights)

    @staticmethod
    def from_keras(path: str | Path) -> "PredNet":
        """Load the weights that the authors of PredNet published, a Keras HDF5 file.

        Parameters
        ----------
        path : str or Path
            As :func:`brainpred.models.prednet_keras.load_keras_prednet`.

        Returns
        -------
        PredNet
            The network for inference (evaluation mode, weights without gradients), on the CPU.
        """
        from brainpred.models.prednet_keras import load_keras_prednet

        return load_keras_prednet(path)

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.channels)

    @property
    def units(self) -> tuple[str, ...]:
        """Names of everything :meth:`run` can return: R0 … E3."""
        return tuple(f"{kind}{layer}" for kind in UNIT_KINDS for layer in range(self.n_layers))

    def unit_shape(self, unit: str, height: int, width: int) -> tuple[int, int, int]:
        """Give the (channels, height, width) of a unit for frames of the given size.

        Parameters
        ----------
        unit : str
            One of :attr:`units`.
        height, width : int
            Size of the frame in pixels.

        Returns
        -------
        tuple of int
            Channels, height and width of the unit's array.
        """
        self.check_units([unit])
        self.check_frame_size(height, width)
        layer = int(unit.lstrip("RAEhat"))
        channels = self.channels[layer] * (2 if unit.startswith("E") else 1)
        return channels, height >> layer, width >> layer

    def check_units(self, units: Iterable[str]) -> None:
        """Raise :class:`ConfigError` unless every name is one of :attr:`units`."""
        unknown = [unit for unit in units if unit not in self.units]
        if unknown:
            raise ConfigError(f"Unknown unit {', '.join(unknown)}. This PredNet has: {', '.join(self.units)}.")

    def check_frame_size(self, height: int, width: int) -> None:
        """Raise :class:`DataError` unless both sides can be halved once for every layer above the first."""
        factor = 2 ** (self.n_layers - 1)
        if height % factor or width % factor or not height or not width:
            nearest = [max(factor, round(side / factor) * factor) for side in (height, width)]
            raise DataError(
                f"A PredNet of {self.n_layers} layers needs frames whose sides are multiples of {factor}, "
                f"received {height}x{width}. Nearest good size: {nearest[0]}x{nearest[1]}."
            )

    def initial_state(self, n_movies: int, height: int, width: int) -> PredNetState:
        """Give the all-zero state in which every movie starts.

        Parameters
        ----------
        n_movies, height, width : int
            Number of movies and frame size in pixels.

        Returns
        -------
        PredNetState
            Zeros, on the network's device; of its dtype, but of float32 at the least, since small changes add up
            in the cells.
        """
        self.check_frame_size(height, width)
        like = self.predict[0].weight
        dtype = torch.promote_types(like.dtype, torch.float32)  # type: ignore[arg-type]

        def zeros(kind: str) -> list[Tensor]:
            shapes = [self.unit_shape(f"{kind}{layer}", height, width) for layer in range(self.n_layers)]
            return [like.new_zeros((n_movies, *shape), dtype=dtype) for shape in shapes]  # type: ignore[operator]

        return PredNetState(zeros("R"), zeros("R"), zeros("E"), zeros("A")[0])

    def prepare(self) -> list[GateKernels]:
        """Split the gates' weights for :meth:`step`; to be done again when they have changed."""
        return [
            gate_kernels(gates.weight, 3 * channels)  # type: ignore[arg-type]
            for gates, channels in zip(self.gates, self.channels, strict=True)
        ]

    def step(
        self,
        frame: Tensor | None,
        state: PredNetState,
        swapped: Mapping[int, Tensor] | None = None,
        kernels: Sequence[GateKernels] | None = None,
        *,
        prediction_only: bool = False,
    ) -> tuple[dict[str, Tensor], PredNetState]:
        """Advance one frame.

        Parameters
        ----------
        frame : Tensor (n_movies, channels_0, height, width) or None
            A_0 in [0, 1]; None closes the loop, A_0(t) = Â_0(t-1).
        state : PredNetState
            State after the frame before.
        swapped : mapping of int to Tensor (n_movies, channels_l, height / 2**l, width / 2**l), optional
            Representations that take the place of R_l's own output in the layers named. What follows
            (layers below, prediction, error, the next frame's R) sees the replacement.
        kernels : sequence of GateKernels, optional
            What :meth:`prepare` gave; given once for many steps, it saves preparing at each.
        prediction_only : bool
            Whether to leave out what cannot reach Â_0 of this frame, nor of later ones in which the same layers are
            swapped: the own R of the lowest of them, and all that lies above. What is left is the same to the last bit.

        Returns
        -------
        units : dict of str to Tensor
            Every unit of this frame that was computed, by name.
        state : PredNetState
            State after this frame.
        """
        swapped = swapped or {}
        kernels = kernels or self.prepare()
        dtype: torch.dtype = self.predict[0].weight.dtype  # type: ignore[assignment]
        units: dict[str, Tensor] = {}
        representation: list[Tensor] = list(state.representation)
        cell: list[Tensor] = list(state.cell)
        error: list[Tensor] = list(state.error)
        top = min(swapped, default=self.n_layers) if prediction_only else self.n_layers
        for layer in reversed(range(self.n_layers)):
            if layer >= top:
                if layer == top:
                    units[f"R{layer}"] = representation[layer] = swapped[layer]
                continue
            drive = torch.cat([state.representation[layer].to(dtype), state.error[layer].to(dtype)], dim=1)
            beside, above = kernels[layer]
            sums = functional.conv2d(drive, beside, self.gates[layer].bias, padding=1)  # type: ignore[arg-type]
            if above is not None:
                sums = add_upsampled(sums, representation[layer + 1].to(dtype), above)
            gates, candidate = sums.split((3 * self.channels[layer], self.channels[layer]), dim=1)
            input_gate, forget_gate, output_gate = hard_sigmoid(gates).chunk(3, dim=1)
            cell[layer] = forget_gate * state.cell[layer] + input_gate * torch.tanh(candidate)
            own = output_gate * torch.tanh(cell[layer])
            # The same layout in memory, too, so that swapping a representation for itself changes no bit.
            representation[layer] = torch.empty_like(own).copy_(swapped[layer]) if layer in swapped else own
            units[f"R{layer}"] = representation[layer]

        below = state.prediction if frame is None else frame
        prediction = below
        for layer in range(max(1, min(top, self.n_layers))):
            predicted = functional.relu(self.predict[layer](representation[layer].to(dtype)))
            if layer == 0:
                predicted = prediction = predicted.clamp(max=1.0)
            difference = predicted - below
            error[layer] = torch.cat([functional.relu(difference), functional.relu(-difference)], dim=1)
            units[f"A{layer}"], units[f"Ahat{layer}"], units[f"E{layer}"] = below, predicted, error[layer]
            if layer + 1 < min(top, self.n_layers):
                # The maximum of rectified values is the rectified maximum, at a quarter of the work.
                below = functional.relu(functional.max_pool2d(self.update[layer](error[layer].to(dtype)), 2))
        return units, PredNetState(representation, cell, error, prediction)

    def run(
        self,
        frames: Tensor,
        units: Sequence[str] = ("Ahat0",),
        state: PredNetState | None = None,
        *,
        swapped: Mapping[int, Tensor] | None = None,
        closed_loop_from: int | None = None,
    ) -> tuple[dict[str, Tensor], PredNetState]:
        """Show movies to the network and return the units asked for, frame by frame.

        A movie shown in pieces, each with the state the piece before returned, gives the same numbers as
        the movie shown at once.

        Parameters
        ----------
        frames : Tensor (n_movies, n_frames, channels_0, height, width)
            Movies in [0, 1].
        units : sequence of str
            Names out of :attr:`units`.
        state : PredNetState, optional
            State to start from; zeros by default.
        swapped : mapping of int to Tensor (n_movies, n_frames, channels_l, height / 2**l, width / 2**l), optional
            Representations to put in the place of R_l; see :meth:`step`.
        closed_loop_from : int, optional
            From this frame on the network sees its own last prediction instead of the movie
            (0: the frames serve for their shape alone).

        Returns
        -------
        outputs : dict of str to Tensor (n_movies, n_frames, channels, height, width)
            One array a unit.
        state : PredNetState
            State after the last frame.

        Raises
        ------
        ConfigError
            If a unit or a swapped layer does not exist.
        DataError
            If the frames have the wrong shape or size or are not within [0, 1], or the state is that of others.
        """
        self._check_run(frames, units, state, swapped)
        n_movies, n_frames, _, height, width = frames.shape
        if state is None:
            state = self.initial_state(n_movies, height, width)
        collected: dict[str, list[Tensor]] = {unit: [] for unit in units}
        kernels = self.prepare()
        for t in range(n_frames):
            closed = closed_loop_from is not None and t >= closed_loop_from
            now = {layer: values[:, t] for layer, values in (swapped or {}).items()}
            step_units, state = self.step(None if closed else frames[:, t], state, now, kernels)
            for unit, values in collected.items():
                values.append(step_units[unit])
        return {unit: torch.stack(values, dim=1) for unit, values in collected.items()}, state

    def stream(
        self, pieces: Iterable[Tensor], units: Sequence[str] = ("Ahat0",), state: PredNetState | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Show movies of any length piece by piece, keeping nothing but the state.

        Parameters
        ----------
        pieces : iterable of Tensor (n_movies, n_frames_of_the_piece, channels_0, height, width)
            Consecutive pieces of the movies in [0, 1]; any lengths.
        units : sequence of str
            Names out of :attr:`units`.
        state : PredNetState, optional
            State to start from; zeros by default.

        Yields
        ------
        dict of str to Tensor (n_movies, n_frames_of_the_piece, channels, height, width)
            What :meth:`run` would give for these frames of the whole movie; without gradients.

        Examples
        --------
        >>> net, movie = PredNet((3, 4)), torch.rand(1, 6, 3, 8, 8)
        >>> parts = [outputs["R1"] for outputs in net.stream(movie.split(4, dim=1), ["R1"])]
        >>> torch.equal(torch.cat(parts, dim=1), net.run(movie, ["R1"])[0]["R1"])
        True
        """
        for piece in pieces:
            with torch.inference_mode():
                outputs, state = self.run(piece, units, state)
            yield outputs

    def _check_run(
        self,
        frames: Tensor,
        units: Sequence[str],
        state: PredNetState | None,
        swapped: Mapping[int, Tensor] | None,
    ) -> None:
        self.check_units(units)
        if not isinstance(frames, Tensor):
            raise DataError(f"PredNet expects frames as a torch.Tensor, received {type(frames).__name__}.")
        if frames.ndim != 5 or frames.shape[2] != self.channels[0] or not frames.shape[1]:
            raise DataError(
                f"PredNet expects frames (n_movies, n_frames, {self.channels[0]}, height, width) with at least "
                f"one frame, received {tuple(frames.shape)}."
            )
        n_movies, n_frames, _, height, width = frames.shape
        self.check_frame_size(height, width)
        lowest, highest = frames.aminmax() if frames.is_floating_point() else (frames.min(), frames.max())
        # NaN fails every comparison. A resized picture may overshoot a little.
        if not frames.is_floating_point() or not (lowest >= -0.1 and highest <= 1.1):
            raise DataError(
                f"PredNet expects frames in [0, 1], floating point, received {frames.dtype} from {lowest:.4g} to "
                f"{highest:.4g}. Divide bytes by 255."
            )
        if state is not None and state.prediction.shape != (n_movies, self.channels[0], height, width):
            raise DataError(
                f"The state is that of frames {tuple(state.prediction.shape)}, expected one of "
                f"{(n_movies, self.channels[0], height, width)}: as many movies, of the same size."
            )
        for layer, values in (swapped or {}).items():
            self.check_units([f"R{layer}"])
            expected = (n_movies, n_frames, *self.unit_shape(f"R{layer}", height, width))
            if tuple(values.shape) != expected:
                raise DataError(f"Swapped R{layer} must have shape {expected}, received {tuple(values.shape)}.")

    def forward(self, frames: Tensor) -> Tensor:
        """Predict every frame from those before it.

        Parameters
        ----------
        frames : Tensor (n_movies, n_frames, channels_0, height, width)
            Movies in [0, 1].

        Returns
        -------
        Tensor (n_movies, n_frames, channels_0, height, width)
            Â_0; the first prediction of each movie is made before any frame was seen.
        """
        return self.run(frames)[0]["Ahat0"]
