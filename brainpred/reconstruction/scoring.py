"""Score generated movies frame by frame and scan by scan, beside their controls and against the null."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainpred.numerics.scores import EXCLUDED_S, identification
from brainpred.numerics.significance import (
    block_interval,
    block_permutation_p,
    block_sign_p,
    decorrelation_length,
    time_blocks,
)
from brainpred.numerics.timing import middle_frames
from brainpred.reconstruction.controls import COMPUTED, Arm
from brainpred.reconstruction.metrics import (
    FRAME_METRICS,
    flow_correlation,
    frame_scores,
    optical_flow,
    scan_similarity,
)

__all__ = ["METRICS", "ClipScorer", "ClipScores", "score_table"]

METRICS = (*FRAME_METRICS, "motion_r", "identification_2way", "identification_10way")
# With shorter blocks, p of autocorrelated noise comes out too small: docs/decisions/0015.
BLOCK_LENGTHS, SHORTEST_BLOCK_S = 3, 10.0


class ClipScores(NamedTuple):
    """Hold the scores of one clip.

    Attributes
    ----------
    scores : ndarray of float64 (n_scans, n_arms, n_metrics)
        Of the middle frame of every scan, in the order of ``METRICS``.
    frames : ndarray of float32 (n_frames, n_shown_arms, n_frame_metrics)
        Every frame, without the shifts.
    """

    scores: NDArray[np.float64]
    frames: NDArray[np.float32]


class ClipScorer:
    """Take the pictures of a clip as they are generated; memory does not grow with the clip but by numbers.

    Parameters
    ----------
    arms : sequence of Arm
        What is generated; the order of the pictures.
    scans : ndarray of int64 (n_frames,)
        Scan of each frame.
    times_s : ndarray of float64 (n_frames,)
        When each frame is shown.
    tr_s : float
        Repetition time in seconds.
    size : (height, width)
        Frame size in pixels.
    folder : Path
        Where the middle frames of the scans lie until they are compared.
    """

    def __init__(
        self,
        arms: Sequence[Arm],
        scans: NDArray[np.int64],
        times_s: NDArray[np.float64],
        tr_s: float,
        size: tuple[int, int],
        folder: Path,
    ):
        self._arms, self._tr_s, self._size = arms, tr_s, size
        self._shown = torch.tensor([number for number, arm in enumerate(arms) if arm.name != "shifted"])
        self._n_scans = int(scans.max()) + 1
        middles = middle_frames(times_s, tr_s, self._n_scans)
        self._scans_of_middle = {int(t): np.flatnonzero(middles == t) for t in middles}
        shape = (len(arms) + 1, self._n_scans, 3 * size[0] * size[1])
        self._pictures = np.memmap(folder / "middle_frames", np.float16, "w+", shape=shape)
        self._scores = np.full((self._n_scans, len(arms), len(METRICS)), np.nan)
        self._frames: list[NDArray[np.float32]] = []

    def add(self, shown: Tensor, generated: Tensor) -> NDArray[np.float32]:
        """Score the pictures of the next frame.

        Parameters
        ----------
        shown : Tensor (3, height, width)
            The frame of the stimulus, in [0, 1].
        generated : Tensor (n_arms, 3, height, width)
            The pictures; NaN where an arm has none.

        Returns
        -------
        ndarray of float32 (n_shown_arms, n_frame_metrics)
            Scores of the arms that are shown.
        """
        middle = self._scans_of_middle.get(len(self._frames))
        scored = generated if middle is not None else generated[self._shown.to(generated.device)]
        values = frame_scores(shown, scored).float().cpu().numpy()
        if middle is not None:
            self._scores[middle, :, : len(FRAME_METRICS)] = values
            pictures = torch.cat([shown[None], generated]).flatten(1).nan_to_num()
            self._pictures[:, middle] = pictures.to(torch.float16).cpu().numpy()[:, None]
            values = values[self._shown.numpy()]
        self._frames.append(values)
        return values

    def finish(self, advance: Callable[[float], None] = lambda steps: None) -> ClipScores:
        """Compare the scans with each other, and give all scores.

        Parameters
        ----------
        advance : callable
            Told of every scan that is done.

        Returns
        -------
        ClipScores
            The scores.
        """
        excluded = int(np.ceil(EXCLUDED_S / self._tr_s))
        for number in range(len(self._arms)):
            similarity = scan_similarity(self._pictures[number + 1], self._pictures[0])
            for n_way in (2, 10):
                metric = METRICS.index(f"identification_{n_way}way")
                self._scores[:, number, metric] = identification(similarity, excluded, n_way)
        self._score_motion(advance)
        return ClipScores(self._scores, np.stack(self._frames))

    def _score_motion(self, advance: Callable[[float], None]) -> None:
        """Compare the motion from every scan's middle frame to the next one's."""
        metric = METRICS.index("motion_r")
        for scan in range(self._n_scans):
            advance(1)
            if scan + 1 == self._n_scans:
                break
            pairs = self._pictures[:, scan : scan + 2].astype(np.float32).reshape(-1, 2, 3, *self._size)
            flows = [optical_flow(*pair.transpose(0, 2, 3, 1)) for pair in pairs]
            self._scores[scan, :, metric] = [flow_correlation(flows[0], flow) for flow in flows[1:]]


def score_table(
    clips: Sequence[ClipScores], names: Sequence[str], arms: Sequence[Arm], tr_s: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Tabulate scores with intervals, p against the null, and what the brain gains.

    Intervals and p come from blocks of time: three times as long as the gain in pixel r takes to forget itself
    (:func:`brainpred.numerics.significance.decorrelation_length`), 10 s at the least.

    Parameters
    ----------
    clips : sequence of ClipScores
        The clips.
    names : sequence of str
        Their names.
    arms : sequence of Arm
        What was generated.
    tr_s : float
        Repetition time in seconds.
    rng : numpy.random.Generator
        Source of all chance.

    Returns
    -------
    DataFrame
        A row a picture and metric: score and its 95 % interval; of what was swapped, the gain (score less that of the
        mean R with the same drive) with its interval and p (blocks' signs); of ``decoded``, p of the score against the
        null, NaN where clips are too short to shift anything out of reach; length in seconds and number
        of the blocks, and number of shifts.
    """
    scores = np.concatenate([clip.scores for clip in clips])
    runs = np.repeat(list(names), [len(clip.scores) for clip in clips])
    labels = [arm.name for arm in arms]
    null = [number for number, label in enumerate(labels) if label == "shifted"]
    decoded, mean = labels.index("decoded"), labels.index("mean")
    r = METRICS.index("pixel_r")
    blocks, block_s = _blocks(scores[:, decoded, r] - scores[:, mean, r], runs, tr_s)
    shortest_s = min(len(clip.scores) for clip in clips) * tr_s
    within_reach = shortest_s / (len(null) + 1) <= EXCLUDED_S
    rows = []
    for label in dict.fromkeys(labels):
        columns = [number for number, other in enumerate(labels) if other == label]
        swapped = label not in ("mean", "leak", *COMPUTED)
        for number, metric in enumerate(METRICS):
            series = _mean(scores[:, columns, number])
            gain = series - scores[:, mean, number]
            row = {"picture": label, "metric": metric, "score": float(_mean(series))}
            row["low"], row["high"] = block_interval(series, blocks)
            row |= dict.fromkeys(("gain", "gain_low", "gain_high", "gain_p", "null_p"), np.nan)
            if swapped:
                row["gain"], row["gain_p"] = float(_mean(gain)), block_sign_p(gain, blocks, rng)
                row["gain_low"], row["gain_high"] = block_interval(gain, blocks)
            if label == "decoded" and not within_reach:
                row["null_p"] = block_permutation_p(series, scores[:, null, number].T, blocks, rng)
            rows.append(row | {"block_s": block_s, "n_blocks": int(blocks.max()) + 1, "n_shifts": len(null)})
    return pd.DataFrame(rows)


def _blocks(gain: NDArray[np.float64], runs: NDArray[np.str_], tr_s: float) -> tuple[NDArray[np.int64], float]:
    """Cut time into blocks that hardly depend on each other; give them, and their length in seconds."""
    wanted = max(BLOCK_LENGTHS * decorrelation_length(gain, runs), SHORTEST_BLOCK_S / tr_s)
    # At least four blocks, for what they are worth, in clips that are very short.
    length = max(1, min(int(np.ceil(wanted)), len(runs) // 4))
    return time_blocks(runs, length), length * tr_s


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the last axis without NaN; NaN where there is nothing."""
    filled = np.isfinite(values)
    count = filled.sum(axis=-1)
    total = np.where(filled, values, 0).sum(axis=-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
