"""Compare the shares of layers that are estimated of a simulated subject with those that were planted.

    brainpred data simulate --subject sim01
    python benchmarks/layer_shares.py sim01

A stronger subject, or a longer recording, in a data folder of its own:

    mkdir strong && brainpred data simulate --subject sim01 --strength 2 --data strong
    python benchmarks/layer_shares.py sim01 --data strong

Needs no encoding: features and scans alone are read. See docs/scores.rst.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from brainpred.decoding.layer_shares import layer_shares
from brainpred.provenance import provenance
from brainpred.recordings.readers.simulated import subject_folder
from brainpred.studies.encode import EncodeConfig
from brainpred.studies.inputs import read_inputs

LAYERS = ("R0", "R1", "R2", "R3")


def main() -> None:
    """Estimate, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    inputs = read_inputs(EncodeConfig(options.subject, layers=LAYERS), options.data)
    recording = inputs.recording
    shares = layer_shares(
        inputs.runs, LAYERS, inputs.source, recording.rois, recording.tr_s, simulated=recording.simulated
    )
    path = subject_folder(options.subject, options.data) / "truth.tsv"
    truth = pd.read_csv(path, sep="\t", keep_default_na=False)
    variance = truth["strength"] ** 2 / (1 + truth["strength"] ** 2)
    carried = pd.DataFrame({layer: variance * (truth["layer"] == layer) for layer in LAYERS})
    planted = carried.groupby(truth["roi"]).mean()
    print(f"commit {provenance()['commit']}, {options.subject}: {len(recording.runs)} runs")
    print("\n| ROI | layer | planted, % | share, % | interval |\n|---|---|---|---|---|")
    inside = []
    for row in shares.itertuples():
        true = planted.loc[row.roi, row.layer]
        inside.append(row.share_low <= true <= row.share_high)
        interval = f"{100 * row.share_low:.3f} to {100 * row.share_high:.3f}"
        print(f"| {row.roi} | {row.layer} | {100 * true:.3f} | {100 * row.share:.3f} | {interval} |")
    measured = shares.pivot_table(index="roi", columns="layer", values="share").loc[planted.index]
    print(f"\nIntervals that hold the truth: {sum(inside)} of {len(inside)}")
    print("\nRank correlation of planted and measured shares\n| pairs | |\n|---|---|")
    print(f"| all {planted.size} | {correlate(planted, measured):.2f} |")
    lower = list(LAYERS[:3])
    print(f"| R0 to R2 | {correlate(planted[lower], measured[lower]):.2f} |")
    for layer in LAYERS:
        print(f"| {layer}, over ROIs | {correlate(planted[layer], measured[layer]):.2f} |")
    early = "early_visual"
    print(f"| {early}, over layers | {correlate(planted.loc[early], measured.loc[early]):.2f} |")


def correlate(planted: pd.DataFrame | pd.Series, measured: pd.DataFrame | pd.Series) -> float:
    """Give the rank correlation of two tables."""
    return float(spearmanr(np.ravel(planted), np.ravel(measured)).statistic)


if __name__ == "__main__":
    main()
