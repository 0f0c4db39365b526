"""Compare what was measured of a simulated subject with what was planted.

    brainpred decode --subject sim01 && brainpred encode --subject sim01
    python benchmarks/truth.py sim01 results/simulated/sim01

With each layer alone, which tells better where a layer is, though layers go together:

    for layer in R0 R1 R2 R3; do brainpred encode --subject sim01 --layers $layer --out alone/$layer; done
    python benchmarks/truth.py sim01 results/simulated/sim01 --alone alone

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
    parser.add_argument("--alone", type=Path, help="folder of encodings of each layer alone")
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
    print_layers(truth, planted, voxels, options.alone)
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


def print_layers(truth: pd.DataFrame, planted: pd.Series, voxels: pd.DataFrame, alone: Path | None) -> None:
    """Compare the strength of each layer in each ROI."""
    layers = sorted(set(truth["layer"]) - {"none"})
    measures = {"bands that compete (R²)": {layer: voxels[f"r2_{layer}"] for layer in layers}}
    if alone:
        r = {
            layer: pd.read_csv(alone / layer / "encoding_voxels.tsv", sep="\t", na_values="n/a")["r"].fillna(0)
            for layer in layers
        }
        measures["each layer alone (r |r|)"] = {layer: one * one.abs() for layer, one in r.items()}
    carried = (
        pd.DataFrame({layer: planted * (truth["layer"] == layer) for layer in layers}).groupby(truth["roi"]).mean()
    )
    print("\nRank correlation of the planted and the measured strength of layers in ROIs")
    print(f"| measure | all | {' | '.join(f'{layer}, over ROIs' for layer in layers)} | early_visual, over layers |")
    print(f"|{'---|' * (len(layers) + 3)}")
    for name, values in measures.items():
        means = pd.DataFrame(values).groupby(truth["roi"]).mean()
        cells = [spearmanr(carried.to_numpy().ravel(), means.to_numpy().ravel()).statistic]
        cells += [spearmanr(carried[layer], means[layer]).statistic for layer in layers]
        cells.append(spearmanr(carried.loc["early_visual"], means.loc["early_visual"]).statistic)
        print(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")


if __name__ == "__main__":
    main()
