"""The studies of alignDRAW: draw a caption, judge pictures, look at attention and at embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainpred.devices import resolve_device
from brainpred.errors import ConfigError, DataError
from brainpred.models.aligndraw_weights import SHIPPED, load_aligndraw
from brainpred.movies.captions import GRAMMARS, Caption, Grammar, group_by_template, load_grammar, understand
from brainpred.probes.attention import attention_entropy, boundary_agreement, boundary_strength, drawing_agreement
from brainpred.probes.composition import analogies, compositionality, summarise
from brainpred.progress import SILENT, Reporter
from brainpred.provenance import provenance
from brainpred.storage import atomic_path, make_directory, write_json

if TYPE_CHECKING:
    import pandas as pd

    from brainpred.models.aligndraw import AlignDRAW

__all__ = ["check_pictures", "draw_captions", "draw_one", "study_attention", "study_composition", "watch_drawing"]

AT_ONCE = 100  # captions drawn side by side
STEPS_A_SECOND = 4.0
LAST_STEP_S = 2.0  # how long the finished drawing stays
SAMPLES_A_TEMPLATE = 30


def check_pictures(n_pictures: int) -> None:
    """Raise :class:`ConfigError` unless there is a picture to draw."""
    if n_pictures < 1:
        raise ConfigError(f"The number of pictures must be 1 or more, received {n_pictures}.")


def draw_captions(
    network: AlignDRAW, grammar: Grammar, captions: Sequence[Caption], *, seed: int = 0, device: str = "auto"
) -> NDArray[np.float32]:
    """Draw captions.

    Parameters
    ----------
    network : AlignDRAW
        Network.
    grammar : Grammar
        What it reads.
    captions : sequence of Caption
        What to draw.
    seed : int
        Where z comes from.
    device : {"auto", "cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray of float32 (n_captions, height, width)
        Pictures in [0, 1].

    Raises
    ------
    ConfigError
        If there are no captions.
    """
    check_pictures(len(captions))
    place = resolve_device(device)
    network, generator = network.to(place), torch.Generator(place).manual_seed(seed)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(captions), AT_ONCE):
            tokens = torch.from_numpy(grammar.encode(captions[start : start + AT_ONCE])).to(place)
            parts.append(torch.sigmoid(network(tokens, generator=generator).canvas).cpu().numpy())
    return np.concatenate(parts)


def watch_drawing(
    network: AlignDRAW, grammar: Grammar, captions: Sequence[Caption], *, seed: int = 0, device: str = "auto"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw captions and keep how each drawing came about.

    Parameters
    ----------
    network, grammar, captions, seed, device
        As :func:`draw_captions`.

    Returns
    -------
    alpha : ndarray of float32 (n_captions, n_steps, n_places)
        Attention to each token at each step; 0 at padding.
    pictures : ndarray of float32 (n_captions, n_steps + 1, height, width)
        Picture in [0, 1] before the first step and after each.
    """
    place = resolve_device(device)
    network, generator = network.to(place), torch.Generator(place).manual_seed(seed)
    with torch.inference_mode():
        tokens = torch.from_numpy(grammar.encode(captions)).to(place)
        drawing = network(tokens, generator=generator, keep_canvases=True)
        start = network.start_canvas.expand(len(captions), 1, -1, -1)
        pictures = torch.sigmoid(torch.cat([start, drawing.canvases], dim=1))
    return drawing.alpha.cpu().numpy(), pictures.cpu().numpy()


def _understand(text: str, weights: str | Path | None) -> tuple[AlignDRAW, Grammar, Caption]:
    """Find the network that reads a caption."""
    if weights is not None:
        network, name = load_aligndraw(weights)
        grammar = load_grammar(name)
        return network, grammar, grammar.parse(text)
    grammar, caption = understand(text, list(GRAMMARS.values()))
    if grammar.name not in SHIPPED:
        raise ConfigError(
            f"{caption.text} is a caption of grammar {grammar.name}, for which no network ships. Train one with: "
            f"brainpred train aligndraw --study {grammar.name}, and name its file with --weights."
        )
    return load_aligndraw(grammar.name)[0], grammar, caption


def draw_one(
    text: str,
    out: Path | str,
    *,
    weights: str | Path | None = None,
    n_pictures: int = 8,
    seed: int = 0,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> dict[str, Path]:
    """Draw a caption: pictures, the first of them as it comes about, and its attention.

    Parameters
    ----------
    text : str
        Caption, such as ``"すうじ3がすうじ5のひだりにある。"``.
    out : Path or str
        Folder to write into.
    weights : str or Path, optional
        Name of a network that ships or a file; by default the one that ships and reads the caption.
    n_pictures : int
        Pictures to draw.
    seed : int
        Where z comes from.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    dict of str to Path
        ``picture`` (PNG, 60 x 60 pixels), ``pictures`` (figure of all), ``drawing`` (MP4), ``attention`` (figure),
        ``table`` (attention as TSV: a row a step, a column a token). Beside them lies ``drawing.json``: caption,
        network, seed and provenance.

    Raises
    ------
    ConfigError
        If the network does not read the caption; notes of the error show what it reads.
    """
    import pandas as pd
    from PIL import Image

    from brainpred.movies.video import write_video
    from brainpred.reporting.drawings import attention_figure, drawing_frames, drawing_grid
    from brainpred.reporting.style import save_figure

    check_pictures(n_pictures)
    network, grammar, caption = _understand(text, weights)
    out = make_directory(out)
    names = {
        "picture": "picture.png", "pictures": "pictures.png", "drawing": "drawing.mp4", "attention": "attention.png",
        "table": "attention.tsv",
    }  # fmt: skip
    files = {name: out / file for name, file in names.items()}
    alpha, pictures = watch_drawing(network, grammar, [caption] * n_pictures, seed=seed, device=device)
    first = pictures[0, 1:]
    with atomic_path(files["picture"]) as temporary:
        Image.fromarray(np.round(255 * first[-1]).astype(np.uint8)).save(temporary)
    for name, figure in (
        ("pictures", drawing_grid([caption], pictures[None, :, -1])),
        ("attention", attention_figure(caption, alpha[0], first)),
    ):
        save_figure(figure, files[name])
    with atomic_path(files["table"]) as temporary:
        columns = [f"{number} {token}" for number, token in enumerate(caption.tokens, start=1)]
        steps = pd.RangeIndex(1, len(alpha[0]) + 1, name="step")
        pd.DataFrame(alpha[0], steps, columns).to_csv(temporary, sep="\t", float_format="%.5f")
    n_still = round(STEPS_A_SECOND * LAST_STEP_S)
    with reporter.task("drawing", len(first)) as advance:

        def frames() -> Iterator[NDArray[np.uint8]]:
            for frame in drawing_frames(caption, alpha[0], first):
                yield frame
                advance(1)
            yield from [frame] * n_still

        write_video(files["drawing"], frames(), STEPS_A_SECOND)
    parameters = {"caption": caption.text, "weights": str(weights or grammar.name), "seed": seed}
    write_json(out / "drawing.json", {**parameters, "provenance": provenance()})
    return files


def study_attention(
    weights: Sequence[Path | str],
    *,
    seed: int = 0,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> pd.DataFrame:
    """Ask networks of grammar A whether their attention follows words and what is being drawn.

    Parameters
    ----------
    weights : sequence of str or Path
        Networks.
    seed : int
        Where captions, z and chance come from.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    DataFrame
        A row a network: ``weights``, ``encoder``, ``entropy`` of attention in nats, what
        :class:`brainpred.probes.attention.Agreement` holds, and ``drawing_r``, ``drawing_r_null``, ``drawing_p`` of
        :func:`brainpred.probes.attention.drawing_agreement`.

    Raises
    ------
    DataError
        If a network does not read characters.
    """
    import pandas as pd

    rows = []
    with reporter.task("attention", len(weights)) as advance:
        for path in weights:
            network, name = load_aligndraw(path)
            grammar = load_grammar(name)
            if not grammar.characters:
                raise DataError(
                    f"{path} reads words (grammar {name}): whether attention finds words is asked of networks that "
                    "read characters, grammar A."
                )
            rows.append({"weights": str(path), **_look_at_attention(network, grammar, seed, device)})
            advance(1)
    return pd.DataFrame(rows)


def _look_at_attention(network: AlignDRAW, grammar: Grammar, seed: int, device: str) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    templates = group_by_template(grammar.captions)
    chosen = [captions[i] for captions in templates for i in rng.integers(len(captions), size=SAMPLES_A_TEMPLATE)]
    alpha, pictures = watch_drawing(network, grammar, chosen, seed=seed, device=device)
    alphas = [rows[:, : len(caption.tokens)] for rows, caption in zip(alpha, chosen, strict=True)]
    starts = range(0, len(chosen), SAMPLES_A_TEMPLATE)
    strengths = [
        np.mean([boundary_strength(rows) for rows in alphas[start : start + SAMPLES_A_TEMPLATE]], axis=0)
        for start in starts
    ]
    agreement = boundary_agreement(strengths, [chosen[start].words for start in starts], rng)
    r, r_null, p = drawing_agreement(chosen, alpha, pictures, rng)
    return {
        "encoder": network.config.encoder,
        "entropy": attention_entropy(alpha),
        **agreement._asdict(),
        "drawing_r": r,
        "drawing_r_null": r_null,
        "drawing_p": p,
    }


def study_composition(weights: Sequence[Path | str]) -> dict[str, pd.DataFrame]:
    """Ask networks of grammar B whether the embeddings of compound words are sums.

    Parameters
    ----------
    weights : sequence of str or Path
        Networks, alike but for their seeds.

    Returns
    -------
    dict of str to DataFrame
        ``composition`` and ``analogies``: means over the networks and how far these differ, as
        :func:`brainpred.probes.composition.summarise` gives them; ``networks``: what
        :func:`brainpred.probes.composition.compositionality` gives for each, with a column ``weights``.

    Raises
    ------
    DataError
        If a network has no embedding of the words.
    """
    import pandas as pd

    tables: dict[str, list[pd.DataFrame]] = {"composition": [], "analogies": []}
    for path in weights:
        network, name = load_aligndraw(path)
        if network.language.embedding is None:
            raise DataError(f"{path} has no embedding of words (one-hot tokens): composition is asked of study B.")
        vectors, vocabulary = network.language.embedding.weight.numpy(), load_grammar(name).vocabulary
        tables["composition"].append(compositionality(vectors, vocabulary))
        tables["analogies"].append(analogies(vectors, vocabulary).drop(columns="n_words"))
    keys = {"composition": ("vectors", "compound"), "analogies": ("question", "answer")}
    summaries = {name: summarise(found, keys[name]) for name, found in tables.items()}
    each = pd.concat(tables["composition"], keys=[str(path) for path in weights], names=["weights"])
    return {**summaries, "networks": each.reset_index("weights")}
