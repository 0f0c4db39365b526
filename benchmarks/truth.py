"""Compare what was measured of a simulated subject with what was planted.

    brainpred decode --subject sim01 && brainpred encode --subject sim01
    python benchmarks/truth.py sim01 results/simulated/sim01

How strongly each layer is carried in each region: benchmarks/layer_shares.py.

Reads truth.tsv of the subject and the saved maps. See docs/scores.rst.
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from brainpred.numerics.ceiling import mean_ceiling
from brainpred.provenance import provenance
from brainpred.recordings.readers import load_recording
from brainpred.recordings.readers.simulated import subject_folder


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject")
    parser.add_argument("results", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--least", type=float, default=0.2, help="signal / noise of the voxels to be found")
    options = parser.parse_args()
    recording = load_recording("simulated", options.subject, options.data)
    path = subject_folder(options.subject, options.data) / "truth.tsv"
    truth = pd.read_csv(path, sep="\t", keep_default_na=False)
    inside = recording.space.inside

    def read(name: str) -> np.ndarray:
        return nib.load(options.results / f"{name}.nii.gz").get_fdata()[inside]

    strength = truth["strength"].astype(float)
    n_repeats = len(recording.runs_with_role("test"))
    planted = strength**2 / (1 + strength**2)
    print(f"commit {provenance()['commit']}, {options.subject}")
    table = pd.DataFrame({"roi": truth["roi"], "planted": planted, "measured": read("explainable_variance")})
    means = table.groupby("roi").mean().sort_values("planted", ascending=False)
    print("\nPart of the variance that is signal, mean over the voxels of each ROI")
    print("| ROI | planted | explainable variance |\n|---|---|---|")
    for roi, row in means.iterrows():
        print(f"| {roi} | {row['planted']:.4f} | {row['measured']:.4f} |")
    print(f"Rank correlation over ROIs: {spearmanr(means['planted'], means['measured']).statistic:.2f}")

    strong = (strength >= options.least).to_numpy()
    voxels = pd.read_csv(options.results / "encoding_voxels.tsv", sep="\t", na_values="n/a")
    reliability = n_repeats * strength**2 / (1 + n_repeats * strength**2)
    print(f"\nVoxels whose signal is {options.least:g} of their noise or more: {strong.sum()}")
    print(
        "| explainable variance: planted | measured | ceiling of r: planted | measured | r reached (root mean square) |"
    )
    print("|---|---|---|---|---|")
    print(
        f"| {planted[strong].mean():.3f} | {table['measured'][strong].mean():.3f} "
        f"| {mean_ceiling(reliability[strong]):.3f} | {mean_ceiling(voxels['reliability'][strong]):.3f} "
        f"| {np.sqrt((voxels['r'][strong] ** 2).mean()):.3f} |"
    )
    layers = sorted(set(truth["layer"]) - {"none"})
    carried = [(planted * (truth["layer"] == layer)).groupby(truth["roi"]).mean() for layer in layers]
    explained = [voxels[f"r2_{layer}"].groupby(truth["roi"]).mean() for layer in layers]
    recovered = spearmanr(np.ravel(carried), np.ravel(explained)).statistic
    print(f"\nRank correlation of planted strength and R² of bands that compete, ROIs and layers: {recovered:.2f}")
    print("\nArea under the ROC curve, those voxels against voxels that carry nothing")
    print("| map | all layers | R0 | R1 |\n|---|---|---|---|")
    nothing = (truth["layer"] == "none").to_numpy()
    for name in (
        "explainable_variance",
        "encoding_r",
        "pattern_R0",
        "contribution_R0",
        "pattern_R1",
        "contribution_R1",
        "contribution_any",
    ):
        values, cells = read(name), []
        for layer in (None, "R0", "R1"):
            wanted = strong if layer is None else strong & (truth["layer"] == layer).to_numpy()
            kept = wanted | nothing
            cells.append(f"{roc_auc_score(wanted[kept], values[kept]):.3f}")
        print(f"| {name} | {' | '.join(cells)} |")
    found, p = voxels["q"] < 0.05, voxels["p"][nothing]
    print(f"\nVoxels with q < 0.05: {found.sum()}, of them carrying nothing: {(found & nothing).sum()}")
    print(
        "Voxels that carry nothing: "
        + ", ".join(f"p <= {at:g} in {(p <= at).mean():.2%}" for at in (0.05, 0.01, 0.001))
    )


if __name__ == "__main__":
    main()
