"""Measure the speed of alignDRAW's training against a plain implementation, and what bfloat16 costs.

    python benchmarks/aligndraw.py               study A, batches of 100, 32 steps, on every core
    python benchmarks/aligndraw.py --study B     sizes and captions of study B

A training step is a forward pass, the loss, a backward pass, clipping and RMSProp. First it is checked that both
implementations give the same loss and gradient from the same weights and noise. Everything compared runs in turn, again
and again, in one process; ratios are of the medians. See README.md here.
"""

import argparse
import contextlib
import copy
import dataclasses
import functools
import platform
from collections.abc import Callable

import torch
from plain_aligndraw import PlainAlignDRAW
from prednet import measure

from brainpred.models.aligndraw import AlignDRAW
from brainpred.movies.captions import load_grammar
from brainpred.movies.scenes import load_digits
from brainpred.provenance import provenance
from brainpred.studies.train_aligndraw import AlignDRAWTrainingConfig
from brainpred.training.aligndraw import RECIPES, SceneBatches, Scenes

RECIPE = RECIPES["document"]
SAME = 1e-9  # relative difference that rounding in float64 explains
LOG_VARIANCE = 5.0  # of filters in the check, in squared pixels


def batch_of(study: str, n_scenes: int, device: torch.device) -> Scenes:
    """Paint one batch (the small digits do as well as MNIST for measuring time)."""
    grammar = load_grammar(study)
    scenes = SceneBatches(grammar, grammar.captions, load_digits().train, n_scenes, 1)[0]
    return Scenes(*(part.to(device) for part in scenes))


def own_loss(
    network: AlignDRAW,
    tokens: torch.Tensor,
    pictures: torch.Tensor,
    n_steps: int,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Give brainpred's loss, as the plain implementation gives its own."""
    drawing = network(tokens, pictures, n_steps=n_steps, generator=generator)
    nll, kl = network.loss(drawing, pictures)
    return (nll + kl).mean()


def differences(
    network: AlignDRAW, scenes: Scenes, n_steps: int, dtype: torch.dtype, multiplied: torch.dtype
) -> tuple[float, float]:
    """Give how far apart both are, relative: in the loss and in the gradient of the start states, on which all acts."""
    own = copy.deepcopy(network).to(dtype)
    own.multiplied = multiplied
    plain = PlainAlignDRAW(own).to(scenes.tokens.device, dtype)
    found = []
    for model, loss_of in ((own, functools.partial(own_loss, own)), (plain, plain)):
        noise = torch.Generator(scenes.tokens.device).manual_seed(1)
        loss = loss_of(scenes.tokens, scenes.pictures.to(dtype), n_steps, noise)
        found.append((loss.detach(), torch.autograd.grad(loss, model.start_states)[0]))
    loss, gradient = (float((a - b).norm() / b.norm()) for a, b in zip(*found, strict=True))
    return loss, gradient


def check(network: AlignDRAW, scenes: Scenes, n_steps: int) -> None:
    """Raise unless the plain implementation computes the same in float64; print what float32 and bfloat16 change."""
    # One-hot tokens are float32 whatever the weights are, so the check has an embedding in any study.
    config = dataclasses.replace(network.config, n_embedding=network.config.n_embedding or 32)
    network = AlignDRAW(network.language.n_tokens, config).to(scenes.tokens.device)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)  # biases and start states that are not 0
        for window in ("read", "write"):
            # Wide filters reach the canvas from anywhere. Those that do not are 0 in ports, but not in brainpred.
            network.from_decoder.bias[network._slice(window)][2] += LOG_VARIANCE
    print("Relative difference of brainpred from plain, same weights and noise: loss, gradient of the start states")
    for held, multiplied in (("float64", "float64"), ("float32", "float32"), ("float32", "bfloat16")):
        found = differences(network, scenes, n_steps, getattr(torch, held), getattr(torch, multiplied))
        print(f"held in {held}, multiplied in {multiplied}: {found[0]:.1e}, {found[1]:.1e}", flush=True)
        if held == "float64" and not max(found) < SAME:
            raise SystemExit(f"The implementations do not compute the same: expected differences below {SAME}.")


def training_step(model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], object]:
    """Prepare one update of the weights."""
    optimizer = torch.optim.RMSprop(model.parameters(), RECIPE.learning_rate, alpha=0.9)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip_norm)
        optimizer.step()

    return step


def compare(network: AlignDRAW, scenes: Scenes, n_steps: int, repeats: int) -> None:
    """Print training steps a second."""
    device = scenes.tokens.device
    jobs: dict[str, Callable[[], object]] = {}
    for precision in ("float32", "bfloat16"):
        plain = PlainAlignDRAW(network).to(device)

        def plain_loss(plain: PlainAlignDRAW = plain, precision: str = precision) -> torch.Tensor:
            wanted = precision == "bfloat16"
            with torch.autocast(device.type, torch.bfloat16) if wanted else contextlib.nullcontext():
                return plain(*scenes, n_steps)

        own = AlignDRAW(network.language.n_tokens, network.config).to(device)
        own.load_state_dict(network.state_dict())
        own.multiplied = getattr(torch, precision)
        jobs[f"plain {precision}"] = training_step(plain, plain_loss)
        jobs[f"brainpred {precision}"] = training_step(own, functools.partial(own_loss, own, *scenes, n_steps))
    seconds = measure(jobs, repeats, device)
    print("bfloat16: the baseline by autocast, brainpred's large products alone.")
    print("| implementation | ms a step | pictures/s | times plain float32 | times plain of its precision |")
    print("|---|---|---|---|---|")
    for name, value in seconds.items():
        ratios = [seconds[f"plain {other}"] / value for other in ("float32", name.split()[1])]
        speed = len(scenes.tokens) / value
        print(f"| {name} | {1000 * value:.0f} | {speed:.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="A", choices=["A", "B", "english"], help="captions and sizes")
    parser.add_argument("--batch", type=int, default=100, help="pictures a step")
    parser.add_argument("--steps", type=int, default=32, help="steps of a drawing, T")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 is to be float32
    device = torch.device(options.device)
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads, device {device}")
    print(f"torch {torch.__version__}, commit {provenance()['commit']}")
    torch.manual_seed(0)
    config = AlignDRAWTrainingConfig(options.study).network
    network = AlignDRAW(len(load_grammar(options.study).vocabulary), config).to(device)
    scenes = batch_of(options.study, options.batch, device)
    print(f"Study {options.study}: {options.batch} pictures, {scenes.tokens.shape[1]} tokens, T = {options.steps}")
    check(network, scenes, options.steps)
    compare(network, scenes, options.steps, options.repeats)


if __name__ == "__main__":
    main()
