"""PredNet as it is usually ported: one module a gate, concatenation, contiguous NCHW. The baseline of prednet.py."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainpred.models.prednet import PredNet, hard_sigmoid

__all__ = ["PlainPredNet"]


class PlainPredNet(nn.Module):
    """Compute what PredNet computes, with four separate gate convolutions a layer."""

    def __init__(self, network: PredNet):
        super().__init__()
        self.channels = network.channels
        self.gates = nn.ModuleDict({gate: nn.ModuleList() for gate in ("i", "f", "o", "c")})
        for fused, channels in zip(network.gates, self.channels, strict=True):
            parts = zip(self.gates.values(), fused.weight.chunk(4), fused.bias.chunk(4), strict=True)
            for modules, weight, bias in parts:
                convolution = nn.Conv2d(weight.shape[1], channels, 3, padding=1)
                convolution.weight.data.copy_(weight)
                convolution.bias.data.copy_(bias)
                modules.append(convolution)
        self.predict, self.update = nn.ModuleList(), nn.ModuleList()
        for own, other in ((self.predict, network.predict), (self.update, network.update)):
            for convolution in other:
                copied = nn.Conv2d(convolution.in_channels, convolution.out_channels, 3, padding=1)
                copied.weight.data = convolution.weight.detach().clone(memory_format=torch.contiguous_format)
                copied.bias.data = convolution.bias.detach().clone()
                own.append(copied)
        self.upsample, self.pool = nn.Upsample(scale_factor=2), nn.MaxPool2d(2)

    def forward(self, frames: Tensor, units: list[str]) -> dict[str, Tensor]:
        """Give some of R, E and Ahat0, each (n_movies, n_frames, channels, height, width)."""
        n_movies, n_frames, _, height, width = frames.shape
        n_layers = len(self.channels)
        shapes = [(n_movies, c, height >> layer, width >> layer) for layer, c in enumerate(self.channels)]
        r = [frames.new_zeros(shape) for shape in shapes]
        c = [frames.new_zeros(shape) for shape in shapes]
        e = [torch.cat([zeros, zeros], 1) for zeros in r]
        collected: dict[str, list[Tensor]] = {unit: [] for unit in units}
        for t in range(n_frames):
            for layer in reversed(range(n_layers)):
                inputs = [r[layer], e[layer]]
                if layer < n_layers - 1:
                    inputs.append(self.upsample(r[layer + 1]))
                x = torch.cat(inputs, 1)
                i, f, o = (hard_sigmoid(self.gates[gate][layer](x)) for gate in "ifo")
                c[layer] = f * c[layer] + i * torch.tanh(self.gates["c"][layer](x))
                r[layer] = o * torch.tanh(c[layer])
            a = frames[:, t]
            for layer in range(n_layers):
                predicted = functional.relu(self.predict[layer](r[layer]))
                if layer == 0:
                    predicted = torch.clamp(predicted, max=1.0)
                e[layer] = torch.cat([functional.relu(predicted - a), functional.relu(a - predicted)], 1)
                now = {f"R{layer}": r[layer], f"E{layer}": e[layer], f"Ahat{layer}": predicted}
                for unit in collected.keys() & now.keys():
                    collected[unit].append(now[unit])
                if layer < n_layers - 1:
                    a = self.pool(functional.relu(self.update[layer](e[layer])))
        return {unit: torch.stack(values, 1) for unit, values in collected.items()}
