"""Measure the speed of alignDRAW's training against a plain implementation, and what bfloat16 costs.

    python benchmarks/aligndraw.py               study A, batches of 100, 32 steps, on every core
    python benchmarks/aligndraw.py --study B     sizes and captions of study B

A training step is a forward pass, the loss, a backward pass, clipping and RMSProp. First it is checked that both
implementations give the same loss and gradient from the same weights and noise. Everything compared runs in turn, again
and again, in one process; ratios are of the medians. See README.md here.
"""

import argparse
import contextlib
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
SAME = 1e-4  # relative difference that rounding in float32 explains


def batch_of(study: str, n_scenes: int, device: torch.device) -> Scenes:
    """Paint one batch (the small digits do as well as MNIST for measuring time)."""
    grammar = load_grammar(study)
    scenes = SceneBatches(grammar, grammar.captions, load_digits().train, n_scenes, 1)[0]
    return Scenes(*(part.to(device) for part in scenes))


def own_loss(
    network: AlignDRAW, scenes: Scenes, n_steps: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Give brainpred's loss."""
    drawing = network(scenes.tokens, scenes.pictures, n_steps=n_steps, generator=generator)
    nll, kl = network.loss(drawing, scenes.pictures)
    return (nll + kl).mean()


def start_gradient(model: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """Give the gradient of the states it starts from, to which everything contributes."""
    return torch.autograd.grad(loss, model.start_states)[0]


def check(network: AlignDRAW, scenes: Scenes, n_steps: int) -> None:
    """Raise unless the plain implementation computes the same; print what bfloat16 changes."""
    device = scenes.tokens.device
    network = AlignDRAW(network.language.n_tokens, network.config).to(device)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)  # biases and start states that are not 0
    found = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        network.multiplied = dtype
        loss = own_loss(network, scenes, n_steps, torch.Generator(device).manual_seed(1))
        found[name] = loss.detach(), start_gradient(network, loss)
    plain = PlainAlignDRAW(network).to(device)
    loss = plain(scenes.tokens, scenes.pictures, n_steps, torch.Generator(device).manual_seed(1))
    found["plain"] = loss.detach(), start_gradient(plain, loss)

    def differ(name: str, other: str) -> list[float]:
        return [float((a - b).norm() / b.norm()) for a, b in zip(found[name], found[other], strict=True)]

    same = differ("float32", "plain")
    if not max(same) < SAME:
        raise SystemExit(f"The implementations differ, in loss and gradient, by {same} (relative); at most {SAME}.")
    rough = differ("bfloat16", "plain")
    print(f"Loss of the check: {float(found['plain'][0]):.4f} nats a picture.")
    print("Relative difference from plain float32, of loss and of the start states' gradient:")
    print(f"brainpred float32 {same[0]:.1e}, {same[1]:.1e}; brainpred bfloat16 {rough[0]:.1e}, {rough[1]:.1e}")


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
                return plain(scenes.tokens, scenes.pictures, n_steps)

        own = AlignDRAW(network.language.n_tokens, network.config).to(device)
        own.load_state_dict(network.state_dict())
        own.multiplied = getattr(torch, precision)
        jobs[f"plain {precision}"] = training_step(plain, plain_loss)
        jobs[f"brainpred {precision}"] = training_step(own, lambda own=own: own_loss(own, scenes, n_steps))
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
