"""Several subjects side by side: means and intervals by hand, and pages that name what cannot be compared."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from brainpred.reporting.group import group_figure, group_table
from tests.reporting.test_figures import make_result
from tests.reporting.test_page import Page, fabricate


@pytest.fixture
def subjects(tmp_path):
    for number, name in enumerate(("sim01", "sim02", "sim03")):
        (tmp_path / name).mkdir()
        layers = [make_result(seed=number), make_result("R1", (5, 3, 5), seed=10 + number)]
        fabricate(tmp_path / name, layers, subject=name)
    return tmp_path


def test_means_and_intervals_over_subjects(subjects, run):
    code, out, _ = run("report", "--subjects", "sim01", "sim03", "sim02", "--out", subjects, "--quiet")
    assert code == 0
    assert "group.html" in out
    table = pd.read_csv(subjects / "group_layers.tsv", sep="\t").set_index(["layer", "metric"])
    own = [pd.read_csv(subjects / f"sim0{n}" / "layers.tsv", sep="\t").set_index("layer") for n in (1, 3, 2)]
    r = [one.loc["R1", "mean_r"] for one in own]
    row = table.loc[("R1", "mean_r")]
    assert row["mean"] == pytest.approx(np.tanh(np.mean(np.arctanh(r))), rel=1e-4)
    ends = np.tanh(stats.t.interval(0.95, 2, np.mean(np.arctanh(r)), stats.sem(np.arctanh(r))))
    assert (row["low"], row["high"]) == pytest.approx(tuple(ends), rel=1e-3)
    ceilings = [one.loc["R0", "mean_ceiling"] for one in own]
    assert table.loc[("R0", "mean_ceiling"), "mean"] == pytest.approx(np.mean(ceilings), rel=1e-4)
    assert table.loc[("R0", "mean_ceiling"), "sd"] == pytest.approx(np.std(ceilings, ddof=1), rel=1e-3)
    subjects_table = pd.read_csv(subjects / "group_subjects.tsv", sep="\t")
    assert subjects_table["subject"].tolist() == ["sim01"] * 2 + ["sim03"] * 2 + ["sim02"] * 2
    page = Page(subjects / "group.html")
    assert "R0 is decoded with a mean r of" in page.text
    found = f"R1 {row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f}; {row['n_significant']:.0f} of 3)."
    assert found.replace("-", "−") in page.text
    assert "Simulated data." in page.text
    assert "Not decoded alike" not in page.text
    assert "simulated data: R0 " in next(image["alt"] for image in page.all("img"))
    assert {path.name for path in (subjects / "figures").iterdir()} == {"group.png", "group.svg"}


@pytest.mark.parametrize("names", [["sim02"], ["sim02", "sim02"]])
def test_one_subject_is_no_group(subjects, run, names):
    code, _, err = run("report", "--subjects", *names, "--out", subjects, "--quiet")
    assert code == 2
    assert "two or more different subjects, received sim02. The page of one" in err
    assert err.rstrip().endswith("brainpred report --subject sim02")
    assert not (subjects / "group.html").exists()


def test_subject_without_its_table_is_named(subjects, run):
    (subjects / "sim02" / "layers.tsv").unlink()
    for arguments in (
        ["--subjects", "sim01", "sim02", "--out", subjects],
        ["--subject", "sim02", "--out", subjects / "sim02"],
    ):
        code, _, err = run("report", *arguments, "--quiet")
        assert code == 1
        assert "sim02/layers.tsv is missing. Run: brainpred decode --subject sim02" in err


def test_subjects_that_are_no_group(subjects, run):
    settings = json.loads((subjects / "sim02" / "decode.json").read_text())
    (subjects / "sim02" / "decode.json").write_text(json.dumps({**settings, "bands": "none"}))
    assert run("report", "--subjects", "sim01", "sim02", "--out", subjects, "--quiet")[0] == 0
    assert "Not decoded alike: the subjects differ in bands." in Page(subjects / "group.html").text
    assert "All saw the same test clip" in Page(subjects / "group.html").text
    runs = [{**one, "stimulus": "another"} for one in settings["runs"]]
    unlike = {"weights": "other.pt", "cleaning": {"high_pass_s": 120}, "layers": ["R0"], "runs": runs}
    (subjects / "sim02" / "decode.json").write_text(json.dumps({**settings, **unlike}))
    assert run("report", "--subjects", "sim01", "sim02", "--out", subjects, "--quiet")[0] == 0
    text = Page(subjects / "group.html").text
    assert "differ in layers (p is of the best of them), weights of PredNet and cleaning." in text
    assert "All saw the same test clip" not in text
    (subjects / "sim02" / "decode.json").write_text(json.dumps({**settings, "simulated": False}))
    code, _, err = run("report", "--subjects", "sim01", "sim02", "--out", subjects, "--quiet")
    assert code == 1
    assert "are no group. Simulated: sim01" in err
    code, _, err = run("report", "--subjects", "sim01", "sim09", "--out", subjects, "--quiet")
    assert code == 1
    assert "sim09 holds no results" in err


@pytest.mark.parametrize("arguments", [[], ["--subject", "sim01", "--subjects", "sim02"]])
def test_either_a_subject_or_a_group(run, arguments):
    code, _, err = run("report", *arguments)
    assert code == 2
    assert "--subjects S1 S2" in err


def test_parts_stay_between_0_and_1():
    scores = dict.fromkeys(
        ("mean_r", "mean_reliability", "mean_ceiling", "mean_r_over_ceiling", "mean_r2", "mean_pattern_r"), 0.5
    )
    rows = [
        {"subject": subject, "layer": "R0", "p": 0.01, **scores, "identification_2way": 0.9 + 0.05 * part,
         "identification_10way": 0.5, "significant": part, "identification_2way_p": part, "identification_10way_p": 0.2}
        for subject, part in (("a", 0.0), ("b", 0.1), ("c", 0.9))
    ]  # fmt: skip
    group = group_table(pd.DataFrame(rows)).set_index("metric")
    assert (group.loc["significant", "low"], group.loc["significant", "high"]) == (0.0, 1.0)
    assert group.loc["mean_r", "n_significant"] == 3
    assert group.loc["identification_2way", "n_significant"] == 1
    assert group.loc["identification_10way", "n_significant"] == 0
    assert np.isnan(group.loc["significant", "n_significant"])


def test_layers_are_compared_with_baselines_within_subjects():
    scores = ("p", "identification_2way_p", "identification_10way_p", "mean_reliability", "mean_ceiling",
              "mean_r_over_ceiling", "mean_r2", "mean_pattern_r", "identification_2way", "identification_10way",
              "significant")  # fmt: skip
    r = {"a": (0.5, 0.4), "b": (0.3, 0.25), "c": (0.7, 0.4)}
    rows = [{"subject": subject, "layer": layer, "mean_r": value, **dict.fromkeys(scores, 0.01)}
            for subject, both in r.items() for layer, value in zip(("R0", "pixels"), both, strict=True)]  # fmt: skip
    group = group_table(pd.DataFrame(rows), ["pixels"]).set_index(["layer", "metric"])
    row = group.loc[("R0", "mean_r_less_pixels")]
    differences = [0.1, 0.05, 0.3]
    assert row["mean"] == pytest.approx(0.15)
    ends = stats.t.interval(0.95, 2, 0.15, stats.sem(differences))
    assert (row["low"], row["high"]) == pytest.approx(ends, rel=1e-6)
    assert not [layer for layer, metric in group.index if layer == "pixels" and "less" in metric]


def test_layer_that_a_subject_lacks_is_averaged_over_the_others():
    rows = [
        {"subject": subject, "layer": layer, "p": p, **dict.fromkeys(("mean_r_low", "mean_r_high"), r), "mean_r": r,
         **dict.fromkeys(("mean_reliability", "mean_ceiling", "mean_r_over_ceiling", "mean_r2", "mean_pattern_r",
                          "identification_2way", "identification_10way", "significant"), np.nan)}
        for subject, layer, r, p in (("a", "R0", 0.5, 0.01), ("b", "R0", 0.25, 0.2), ("b", "R1", 0.125, 0.04))
    ]  # fmt: skip
    subjects = pd.DataFrame(rows)
    group = group_table(subjects)
    assert group["metric"].tolist() == ["mean_r", "mean_r"], "scores that nobody has are left out"
    assert group["n_subjects"].tolist() == [2, 1]
    assert group["n_significant"].tolist() == [1, 1]
    figure = group_figure(subjects, group, simulated=False)
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert sorted(float(line.get_ydata()[0]) for line in points) == [0.125, 0.25, 0.5]


def test_ceilings_of_a_group_are_those_of_all_subjects_or_none():
    rows = [
        {"subject": subject, "layer": layer, "p": 0.5, "mean_r": 0.3, "mean_reliability": reliability,
         "mean_ceiling": ceiling, **dict.fromkeys(("mean_r_over_ceiling", "mean_r2", "mean_pattern_r", "significant",
         "identification_2way", "identification_10way"), np.nan)}
        for layer, subject, reliability, ceiling in (
            ("R0", "a", 0.64, 0.8), ("R0", "b", 0.36, 0.6), ("R0", "c", 0.01, np.nan),
            ("R1", "a", 0.64, 0.8), ("R1", "b", 0.04, np.nan), ("R1", "c", -0.1, np.nan),
        )
    ]  # fmt: skip
    group = group_table(pd.DataFrame(rows)).set_index(["layer", "metric"])
    assert group.loc[("R0", "mean_ceiling"), "mean"] == pytest.approx((0.8 + 0.6 + 0.1) / 3), "c is not left out"
    assert group.loc[("R0", "mean_r_over_ceiling"), "mean"] == pytest.approx(0.3 / 0.5)
    assert group.loc[("R0", "mean_r_over_ceiling"), "n_subjects"] == 3
    assert [layer for layer, metric in group.index if "ceiling" in metric] == ["R0", "R0"]


def test_ratio_of_means_counts_the_subjects_that_it_is_of():
    r, reliability = np.array([0.3, 0.25, 0.05, np.nan]), np.array([0.64, 0.36, -0.1, 0.49])
    rows = [
        {"subject": number, "layer": "R0", "p": 0.5, "mean_r": own, "mean_reliability": part, "mean_ceiling": 0.5,
         **dict.fromkeys(("mean_r_over_ceiling", "mean_r2", "mean_pattern_r", "significant", "identification_2way",
         "identification_10way"), np.nan)}
        for number, (own, part) in enumerate(zip(r, reliability, strict=True))
    ]  # fmt: skip
    row = group_table(pd.DataFrame(rows)).set_index("metric").loc["mean_r_over_ceiling"]
    ceilings = np.array([0.8, 0.6, 0.0])  # of the third nothing repeats
    residuals = (r[:3] - 0.6 / 1.4 * ceilings) / (1.4 / 3)
    assert row["mean"] == pytest.approx(0.6 / 1.4)
    assert row["n_subjects"] == 3
    assert row["sd"] == pytest.approx(residuals.std(ddof=1))
    low, high = stats.t.interval(0.95, 2, 0.6 / 1.4, stats.sem(residuals))
    assert (row["low"], row["high"]) == pytest.approx((low, high))
