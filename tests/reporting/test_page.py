"""The report is one page that holds every number and figure, and survives a figure that fails."""

import json
import re
import shutil
from html.parser import HTMLParser

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainpred.decoding.chance import compare_with_chance, load_chance, save_chance
from brainpred.decoding.result import load_result, save_result
from brainpred.decoding.tables import band_table, lag_table, layer_table, unit_table
from brainpred.errors import DataError
from brainpred.progress import RichReporter
from brainpred.reporting import gallery as gallery_module
from brainpred.reporting import pictures as pictures_module
from brainpred.reporting import saved as saved_module
from brainpred.reporting.meshes import fsaverage5
from brainpred.reporting.numbers import number, probability
from brainpred.reporting.page import write_report
from tests.reporting.test_figures import head_image, make_result, make_rois, slab_image
from tests.reporting.test_surface import write_surface

VOID = {"meta", "img", "br", "link", "input", "hr"}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)


class Page(HTMLParser):
    """Collect the elements and the text of a page; check that elements are closed in order."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def figure_names(self):
        return [attributes["id"] for attributes in self.all("figure") if "id" in attributes]


def write_tsv(table, path):
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")


def map_names(layers):
    return [f"{what}_{layer}" for layer in layers for what in ("contribution", "pattern")]


def fabricate(folder, results, more_maps=(), **changes):
    """Write what `brainpred decode` writes."""
    layers = [result.layer for result in results]
    settings = {
        "dataset": "simulated", "subject": "sim01", "simulated": True, "tr_s": 1.5, "n_voxels": 1035,
        "runs": [
            {"name": "first", "role": "train", "n_scans": 13, "stimulus": "a"},
            {"name": "second", "role": "train", "n_scans": 17, "stimulus": "b"},
            {"name": "third", "role": "test", "n_scans": 11, "stimulus": "clip"},
            {"name": "fourth", "role": "test", "n_scans": 11, "stimulus": "clip"},
        ],
        "layers": layers, "bands": "roi", "delays_s": [3.0, 4.5], "search": "himalaya", "n_candidates": 5,
        "seed": 7, "device": "cpu",
        "features": {"source": "prednet", "weights": "small", "frame_size": [6, 10]},
        "roi_sizes": {"V1": 7, "V2": 8, "rest": 1020},
        "provenance": {
            "versions": {"brainpred": "0.1.0", "nilearn": "0.14.1", "himalaya": "0.4.9"}, "commit": "abc123",
            "python": "3.11.9", "platform": "Linux", "time": "2025-01-02T03:04:05+00:00",
        },
        "seconds": 12.3, "n_permutations": 19, "block_scans": 2, "block_scans_wanted": 2, "n_blocks": 5,
        "baselines": [], "delays_scans": [2, 3],
        "maps": {name: [f"{name}.nii.gz"] for name in [*map_names(layers), *more_maps]}, **changes,
    }  # fmt: skip
    (folder / "decode.json").write_text(json.dumps(settings))
    for result in results:
        save_result(result, folder / f"decoded_{result.layer}.h5", "key", simulated=settings["simulated"])
        for kind in ("contribution", "pattern"):
            nib.save(slab_image(), folder / f"{kind}_{result.layer}.nii.gz")
    chance = compare_with_chance(results, n_permutations=settings["n_permutations"])
    save_chance(chance, folder / "significance.h5", "key")
    write_tsv(layer_table(results, chance, simulated=settings["simulated"]), folder / "layers.tsv")
    write_tsv(pd.concat([unit_table(result, chance) for result in results]), folder / "scores.tsv")
    write_tsv(make_rois(layers), folder / "roi_contributions.tsv")
    write_tsv(band_table(results, simulated=settings["simulated"]), folder / "bands.tsv")
    rois = np.array(["V1", "V2", "V2", "rest", "rest"])
    write_tsv(lag_table(results, rois, 1.5, simulated=settings["simulated"]), folder / "lags.tsv")
    fabricate_quality(folder, settings)
    return folder


def fabricate_quality(folder, settings):
    """Write what the quality of the scans is told by."""
    rng = np.random.default_rng(4)
    names = [run["name"] for run in settings["runs"]]
    runs = {"run": names, "role": [run["role"] for run in settings["runs"]], "n_scans": 11, "median_tsnr": 61.25}
    runs |= {"median_dvars": 1.5, "n_spikes": range(len(names)), "largest_shift_mm": 0.25, "n_constant_voxels": 3}
    write_tsv(pd.DataFrame(runs), folder / "quality_runs.tsv")
    n_scans = 11 * len(names)
    scans = {"run": np.repeat(names, 11), "scan": np.tile(np.arange(11), len(names)), "dvars": rng.random(n_scans)}
    scans |= {"spike": (np.arange(n_scans) == 7).astype(int), "shift_mm": rng.random(n_scans)}
    write_tsv(pd.DataFrame(scans), folder / "quality_scans.tsv")
    sizes = settings["roi_sizes"]
    rois = {"roi": list(sizes), "n_voxels": list(sizes.values()), "n_constant_voxels": 0, "median_tsnr": 55.5}
    write_tsv(pd.DataFrame(rois), folder / "quality_rois.tsv")


def fabricate_encoding(folder):
    """Write what `brainpred encode` writes."""
    (folder / "encode.json").write_text(
        json.dumps({"layers": ["R0", "pixels"], "maps": {"encoding_r": ["encoding_r.nii.gz"]}})
    )
    table = {
        "roi": ["V1", "V2"],
        "n_voxels": [7, 8],
        "mean_r": [0.4375, 0.25],
        "r_p99": [0.5, 0.4],
        "significant": 0.125,
    }
    table |= {"mean_ceiling": 0.75, "mean_r2": [0.25, 0.1], "r2_R0": [0.1875, 0.1], "r2_pixels": [0.0625, 0.0]}
    write_tsv(pd.DataFrame(table), folder / "encoding.tsv")
    shares = {"roi": np.repeat(["V1", "V2"], 2), "layer": ["R0", "pixels"] * 2, "share": [0.1825, 0.0, 0.05, 0.025]}
    shares |= {"share_low": [0.125, 0.0, 0.0, 0.0], "share_high": [0.2475, 0.01, 0.1, 0.075]}
    shares |= {"n_scans": 1234, "n_left_out": 17}
    write_tsv(pd.DataFrame(shares), folder / "encoding_layers.tsv")
    nib.save(head_image(), folder / "encoding_r.nii.gz")


def features_result():
    rng = np.random.default_rng(8)
    shown = np.arange(33) % 8
    result = make_result("features", (8,), 33, reliability=np.full(8, np.nan, np.float32), n_patterns=8,
                         nway_shown=shown, nway_chosen=np.where(rng.random(33) < 0.66, shown, 7 - shown))  # fmt: skip
    result.runs[:] = np.repeat(["one", "two", "three"], 11).astype(result.runs.dtype)
    return result


def make_scores(runs="test", through="swap"):
    """Tabulate what `brainpred reconstruct` scores."""
    rows = [
        {
            "layers": "R0", "through": through, "drive": "closed-loop", "hold": "nearest", "variance": "halfway",
            "runs": runs, "data": "simulated", "picture": picture, "metric": metric, "score": score, "low": 0.1,
            "high": 0.9, "null_p": 0.0004, "n_blocks": 8, "n_shifts": 5,
            "gain_p": 0.0123 if picture == "decoded" else np.nan,
            "gain": 0.25 if picture == "decoded" else np.nan,
            "gain_low": -0.125, "gain_high": 0.375, "block_s": 7.5,
        }
        for picture in ("true", "decoded", "mean")
        for metric, score in (("ssim", np.nan), ("pixel_r", 0.375), ("psnr", 14.5), ("identification_2way", 0.625))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Write a report of everything: explainable variance and reconstruction too."""
    folder = tmp_path_factory.mktemp("full")
    layers = [make_result(), make_result("R1", (5, 3, 5), seed=1), make_result("pixels", (3, 4, 5), seed=2)]
    fabricate(folder, layers, ("explainable_variance", "tsnr"), baselines=["pixels"])
    fabricate_encoding(folder)
    nib.save(slab_image(), folder / "explainable_variance.nii.gz")
    nib.save(slab_image(), folder / "tsnr.nii.gz")
    write_tsv(make_scores(), folder / "reconstruction.tsv")
    with h5py.File(folder / "reconstruction_R0.h5", "w") as file:
        file["movie_time_s"], file["scan"] = [0.0, 0.5, 1.75], [0, 0, 1]
    (folder / "filmstrip_R0.png").write_bytes(PNG)
    (folder / "reconstruction_R0.mp4").write_bytes(b"a small movie")
    path = write_report(folder)
    assert path == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Write a report of measured categories: no pictures, no test runs, one ROI."""
    folder = tmp_path_factory.mktemp("measured")
    runs = [{"name": name, "role": "train", "n_scans": 11, "stimulus": None} for name in ("one", "two", "three")]
    fabricate(
        folder, [features_result()], simulated=False, dataset="haxby", subject="sub001", n_voxels=530, runs=runs,
        features={"source": "table", "file": "categories.tsv"}, roi_sizes={"brain": 530},
    )  # fmt: skip
    write_report(str(folder))
    return folder


def test_page_holds_itself(full, measured):
    for folder in (full, measured):
        page = Page(folder / "report.html")
        sources = [attributes["src"] for _, attributes in page.elements if "src" in attributes]
        assert all(source.startswith(("data:image/png;base64,", "data:video/mp4;base64,")) for source in sources)
        identifiers = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
        links = [attributes["href"] for _, attributes in page.elements if "href" in attributes]
        assert links
        assert all(link.startswith("#") and link[1:] in identifiers for link in links)
        # Of the viewer: what it shows, and how; of the player, where there is a movie.
        assert len(page.all("script")) == 2 + (folder == full)
        assert not page.all("link")
        words = re.sub(r"base64,[\w+/=]+", "", page.html)
        assert "http" not in words
        assert "url(" not in words
        assert "@import" not in words
        assert "prefers-color-scheme: dark" in page.html


def test_every_figure_is_there_with_words_for_those_who_cannot_see_it(full):
    page = Page(full / "report.html")
    assert page.figure_names() == [
        "layers", "null", "comparison", "visual_field", "time_course_R0", "time_course_R1", "filmstrip_R0",
        "reconstruction_R0", "pattern_R0", "contribution_R0", "pattern_R1", "contribution_R1", "explainable_variance",
        "contributions", "bands", "lags", "encoding", "encoding_r", "surface_encoding_r", "quality", "tsnr",
    ]  # fmt: skip
    assert len(page.all("img")) == 20
    assert all(len(image["alt"]) > 20 and "simulated" in image["alt"] for image in page.all("img"))
    assert page.all("video")[0]["src"] == "data:video/mp4;base64,YSBzbWFsbCBtb3ZpZQ=="
    assert "could not be drawn" not in page.text
    drawn = {path.name for path in (full / "figures").iterdir()}
    figures = set(page.figure_names()) - {"filmstrip_R0", "reconstruction_R0"}
    tables = {"null", "null_means", "visual_field", "time_course_R0", "time_course_R1"}
    assert drawn == {f"{name}.{end}" for name in figures for end in ("png", "svg")} | {f"{name}.tsv" for name in tables}


def test_numbers_of_figures_are_tables_beside_them(full):
    def read(name):
        return pd.read_csv(full / "figures" / f"{name}.tsv", sep="\t", na_values="n/a")

    result, chance = load_result(full / "decoded_R1.h5"), load_chance(full / "significance.h5")
    null = read("null").query("layer == 'R1'")
    assert null["found"].sum() == pytest.approx(1, abs=1e-4)
    middle = null[(null["r_from"] < result.r[0]) & (result.r[0] <= null["r_to"])]
    assert middle["found"].iloc[0] >= 1 / len(result.r) - 1e-6
    tested = chance.of("R1")
    np.testing.assert_allclose(null["chance"], tested.null_counts / tested.null_counts.sum(), atol=1e-6)
    means = read("null_means").query("layer == 'R1'")
    np.testing.assert_allclose(means["mean_r"], tested.null_mean_r, rtol=1e-4)
    assert set(means["block_scans"]) == {chance.block_length}
    course = read("time_course_R1")
    own = course[course["unit"] == course["unit"].iloc[-1]]
    np.testing.assert_allclose(own["true"].mean(), 0, atol=1e-5)
    assert np.corrcoef(own["true"], result.true[:, own["unit"].iloc[0]])[0, 1] == pytest.approx(1)


def test_only_simulated_data_carry_the_banner(full, measured):
    page = Page(full / "report.html")
    assert page.all("div")[0]["class"] == "banner"
    assert "Simulated data." in page.text
    page = Page(measured / "report.html")
    assert "imulated" not in page.text.split("Everything in decode.json")[0]
    assert "banner" not in [attributes.get("class") for attributes in page.all("div")]


def test_numbers_are_those_of_the_tables(full):
    text = Page(full / "report.html").text
    table = pd.read_csv(full / "layers.tsv", sep="\t", index_col="layer")
    first, second = table.loc["R0"], table.loc["R1"]
    assert (
        f"R0 is decoded with a mean r of {first['mean_r']:.2f} (95 % interval {first['mean_r_low']:.2f} to "
        f"{first['mean_r_high']:.2f}, p = {probability(first['p'])}, noise ceiling {first['mean_ceiling']:.2f}) "
        f"from 1,035 voxels; R1 {second['mean_r']:.2f} (95 % interval"
    ).replace("-", "−").replace("1,035", "1,035") in text
    assert f"Features that need no network reach: pixels {table.loc['pixels', 'mean_r']:.2f}." in text
    better = [layer for layer in ("R0", "R1") if table.loc[layer, "mean_r"] > table.loc["pixels", "mean_r"]]
    named = " and ".join(better) + (" have" if len(better) > 1 else " has") if better else "No layer has"
    assert f" {named} a higher mean r than pixels." in text
    assert (
        "V1 7 0.438 0.500 12.5 % 0.750 0.250 0.188 0.062" in text
        or "V1 7 0.438 0.500 12.5 % 0.750 0.250 0.188 0.063" in text
    )
    assert "second 61.2 1.50 1 0.25 3" in text
    assert "V2 8 100.0 % 55.5" in text
    for row in (first, second):
        for name in ("mean_r", "mean_ceiling", "mean_r_over_ceiling", "mean_r2", "identification_2way"):
            assert f" {row[name]:.3f} " in text
        ends = f"({row['identification_2way_low']:.2f} to {row['identification_2way_high']:.2f})"
        assert f"{ends} {probability(row['identification_2way_p'])} " in text
    rois = pd.read_csv(full / "roi_contributions.tsv", sep="\t")
    totals = rois.groupby("layer")["contribution"].sum()
    top = rois[rois["layer"] == totals.idxmax()].nlargest(1, "contribution").iloc[0]
    share = 100 * min(top["contribution"] / totals.max(), 1)
    assert f"{totals.max():.3f} for {totals.idxmax()}; {top['roi']} gives {share:.0f} % of it" in text


def test_reconstruction_scores_are_shown_without_those_that_do_not_exist(full):
    text = Page(full / "report.html").text
    for picture in ("true", "decoded", "mean"):
        assert f"{picture} n/a 0.375 14.50 0.625" in text
    assert "Of the brain come +0.250 of pixel r (95 % interval −0.125 to +0.375; p = 0.012" in text
    assert "); +0.250 of 2-way (95 %" in text
    assert "those of another time (the null) has, in the same order, p = 0.0004, 0.0004" in text
    assert "p come from 8 blocks of 7.5 s" in text
    assert "fitted to these scans" not in text


def test_scores_of_training_runs_are_marked(small):
    write_tsv(pd.concat([make_scores("train"), make_scores(through="bridge")]), small / "reconstruction.tsv")
    text = Page(write_report(small)).text
    assert "R0 swapped, closed-loop, training data" in text
    assert "R0 through a latent bridge" in text
    assert "The decoder was fitted to these scans" in text


def test_player_knows_when_each_frame_is_shown(full, small):
    page = Page(full / "report.html")
    (player,) = [attributes for attributes in page.all("figure") if "player" in attributes.get("class", "")]
    assert json.loads(player["data-times"]) == [0.0, 0.5, 1.75]
    assert json.loads(player["data-scans"]) == [0, 0, 1]
    assert "PredNet’s own prediction is an even grey, for it has seen nothing yet" in page.text
    assert "The movie ends before its clip does" in page.text
    write_tsv(make_scores(), small / "reconstruction.tsv")
    (small / "reconstruction_R0.mp4").write_bytes(b"a movie without its frames")
    page = Page(write_report(small))
    assert page.all("video")
    assert not page.all("button")


def test_methods_say_what_was_done(full, measured):
    text = Page(full / "report.html").text
    assert "2 training runs and 2 test runs" in text
    assert "all voxels 3 and 4.5 s later by banded ridge regression (Nunez-Elizalde et al., 2019; Dupré la Tour" in text
    assert "each region of interest has a regularisation of its own" in text
    assert "PredNet (Lotter et al., 2017; weights “small”; 6 × 10 pixels), R0 and R1, averaged" in text
    assert "with himalaya 0.4.9. The decoder was then fitted to all training runs" in text
    assert "repeated presentations of a clip were averaged" in text
    assert "scans more than 4 s away" in text
    assert "decoded units took the place of PredNet’s own (R0 swapped, closed-loop)" in text
    assert "Power, J. D." in text
    assert "Nishimoto" in text
    text = Page(measured / "report.html").text
    assert "ridge regression with a single band" in text
    assert (
        "Each run was predicted by a decoder that was fitted, and whose regularisation was chosen, without it" in text
    )
    for absent in ("Nishimoto", "PredNet", "banded ridge regression (", "averaged over the frames"):
        assert absent not in text


def test_blocks_shorter_than_wanted_are_told(small):
    assert "blocks of 2 scans, at least four times as long" in Page(write_report(small)).text
    settings = json.loads((small / "decode.json").read_text()) | {"block_scans_wanted": 7}
    (small / "decode.json").write_text(json.dumps(settings))
    assert "shorter than the 7 that would be four times as long" in Page(write_report(small)).text


def test_methods_tell_of_runs_that_share_what_they_show(small):
    together = "Runs that showed some of the same were left out together each time."
    assert together not in Page(write_report(small)).text
    settings = json.loads((small / "decode.json").read_text())
    for run in settings["runs"]:
        run["group"] = "a" if run["role"] == "train" else "b"
    (small / "decode.json").write_text(json.dumps(settings))
    assert together in Page(write_report(small)).text


def test_features_of_the_users_own(measured):
    page = Page(measured / "report.html")
    names = ["layers", "null", "time_course_features", "pattern_features", "contribution_features", "bands", "lags",
             "quality"]  # fmt: skip
    assert page.figure_names() == names
    table = pd.read_csv(measured / "layers.tsv", sep="\t")
    assert f"The features are decoded with a mean r of {table['mean_r'][0]:.2f} (95 % interval" in page.text
    assert "from 530 voxels. That mean r is not told from chance. 8-way" in page.text
    found, p = table["identification_nway"][0], probability(table["identification_nway_p"][0])
    shown, chosen = features_result().nway_shown, features_result().nway_chosen
    chance = sum((shown == name).mean() * (chosen == name).mean() for name in range(8))
    assert chance != 0.125
    assert f"8-way identification: {found:.2f} (chance {chance:.3f}, p = {p})." in page.text
    assert f"{found:.3f} ({chance:.3f}) {p}" in page.text
    assert "There is no noise ceiling" in page.text
    assert "each left out in turn" in page.text


def test_short_tests_are_told(small):
    settings = json.loads((small / "decode.json").read_text())
    text = Page(write_report(small)).text
    assert "A short test: the held-out scans make 5 blocks of time" in text
    assert "itself uncertain by about 35 %" in text
    (small / "decode.json").write_text(json.dumps({**settings, "n_blocks": 10}))
    assert "A short test" not in Page(write_report(small)).text


def test_what_is_not_told_from_chance_is_said_to_be_so(small):
    table = pd.read_csv(small / "layers.tsv", sep="\t")
    for p, told in ((0.049, None), (0.05, "0.050"), (np.nan, "n/a")):
        write_tsv(table.assign(p=p, identification_2way_p=0.002), small / "layers.tsv")
        text = Page(write_report(small)).text
        assert ("That mean r is not told from chance." in text) == bool(told)
        assert (f"The mean r of R0 is not told from chance (p = {told}). Its maps show" in text) == bool(told)


def test_layers_whose_scans_are_told_apart_are_not_said_to_be_chance(tmp_path):
    fabricate(tmp_path, [make_result(), make_result("R1", (2, 3, 5), seed=1)])
    table = pd.read_csv(tmp_path / "layers.tsv", sep="\t")
    write_tsv(table.assign(p=[np.nan, 0.5], identification_2way_p=0.002, nway=0), tmp_path / "layers.tsv")
    text = Page(write_report(tmp_path)).text
    assert "No mean r is told from chance. A scan is told apart" in text
    assert "p = 0.002)." in text
    assert "No layer is told from chance" not in text


def test_numbers_stay_with_their_sign(small):
    page = write_report(small).read_text(encoding="utf-8")
    assert "95\u00a0% interval" in page
    assert "95 % interval" not in page


def test_layers_without_a_ceiling_say_why(small):
    table = pd.read_csv(small / "layers.tsv", sep="\t")
    write_tsv(table.assign(mean_ceiling=np.nan, mean_r_over_ceiling=np.nan), small / "layers.tsv")
    text = Page(write_report(small)).text
    assert "There is no noise ceiling: the predictions of most units repeat over the 2 presentations no better" in text
    assert "Ceiling r / ceiling" not in text
    two = pd.concat([table, table.assign(layer="R1", mean_ceiling=np.nan, mean_r_over_ceiling=np.nan)])
    write_tsv(two, small / "layers.tsv")
    settings = json.loads((small / "decode.json").read_text())
    (small / "decode.json").write_text(json.dumps({**settings, "layers": ["R0", "R1"]}))
    text = Page(write_report(small)).text
    assert "Ceiling : n/a where the predictions of most units of the layer" in text
    assert "Its file is not among those that decode.json names." in text, "of maps nobody wrote the page says so"


def test_settings_and_versions_are_kept(full):
    text = Page(full / "report.html").text
    for words in (
        "commit abc123",
        "himalaya 0.4.9",
        "Python 3.11.9",
        "2025-01-02T03:04:05+00:00, in 12 s on cpu",
        "seed 7",
    ):
        assert words in text
    shown = re.search(r"<pre>(.*)</pre>", (full / "report.html").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert json.loads(shown.replace("&#34;", '"')) == json.loads((full / "decode.json").read_text())


def test_writing_again_gives_the_same_files(measured):
    paths = [measured / "report.html", *sorted((measured / "figures").iterdir())]
    before = [path.read_bytes() for path in paths]
    write_report(measured)
    assert [path.read_bytes() for path in paths] == before
    assert not list(measured.rglob(".part-*"))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Write the results of one small layer; figures are drawn, but not rendered, to save time."""
    monkeypatch.setattr(pictures_module, "save_figure", lambda figure, path: path.write_bytes(PNG))
    return fabricate(tmp_path, [make_result("R0", (2, 3, 5), 7)])


def change_maps(path, **maps):
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "maps": settings["maps"] | maps}))


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("file", "lost"),
    [
        ("contribution_R0.nii.gz", ["contribution_R0"]),
        ("pattern_R0.nii.gz", ["pattern_R0"]),
        ("roi_contributions.tsv", ["contributions"]),
        ("decoded_R0.h5", ["time_course_R0", "layers", "null"]),
        ("significance.h5", ["null"]),
        ("bands.tsv", ["bands"]),
        ("lags.tsv", ["lags"]),
        ("quality_scans.tsv", ["quality"]),
        ("explainable_variance.nii.gz", ["explainable_variance"]),
    ],
)
def test_broken_file_costs_its_own_figures_alone(small, file, lost):
    if file == "explainable_variance.nii.gz":
        nib.save(nib.Nifti1Image(np.zeros((4, 3, 2), np.float32), np.eye(4)), small / file)
        change_maps(small / "decode.json", explainable_variance=[file])
    elif file.endswith(".tsv"):
        (small / file).write_text("layer\troi\nR0\tV1\n")
    else:
        cut_short(small / file)
    page = Page(write_report(small))
    names = page.figure_names()
    assert set(lost) < set(names)
    assert page.text.count("This figure could not be drawn:") == len(lost)
    assert len(page.all("img")) == len(names) - len(lost)
    assert "R0 is decoded with a mean r of" in page.text
    assert not [name for name in lost if (small / "figures" / f"{name}.png").exists()]


def test_figure_that_fails_loses_nothing_else(small, monkeypatch):
    def fail(*_args, **_settings):
        raise RuntimeError("no ink left")

    before = {path.name: path.read_bytes() for path in small.iterdir() if path.is_file()}
    monkeypatch.setattr(gallery_module, "null_figure", fail)
    page = Page(write_report(small))
    assert page.text.count("This figure could not be drawn:") == 1
    assert "RuntimeError: no ink left" in page.text
    assert "R0 is decoded with a mean r of" in page.text
    assert all((small / name).read_bytes() == content for name, content in before.items())


def test_missing_file_is_named(small):
    (small / "contribution_R0.nii.gz").unlink()
    assert "contribution_R0.nii.gz" in Page(write_report(small)).text.split("This figure could not be drawn:")[1][:200]


def save_hemispheres(folder, name, values):
    files = []
    for hemi, part in zip("LR", values, strict=True):
        files.append(f"{name}_hemi-{hemi}.func.gii")
        array = nib.gifti.GiftiDataArray(part.astype(np.float32), intent="NIFTI_INTENT_SHAPE")
        nib.save(nib.GiftiImage(darrays=[array]), folder / files[-1])
    return files


def test_maps_of_surfaces_are_drawn_on_their_own(small, run):
    rng = np.random.default_rng(5)
    coarse = [rng.uniform(0.1, 0.2, 10_242) for _ in range(2)]
    faces, patch = fsaverage5().faces["left"], [5000]
    for _ in range(3):  # each time the neighbours too
        patch = np.unique(faces[np.isin(faces, patch).any(axis=1)])
    coarse[0][patch] = 0.9
    foreign = [rng.uniform(0.1, 0.2, 6) for _ in range(2)]
    maps = {name: save_hemispheres(small, name, values)
            for name, values in {"pattern_R0": coarse, "tsnr": coarse, "contribution_R0": foreign}.items()}  # fmt: skip
    change_maps(small / "decode.json", **maps)
    page = Page(write_report(small))
    names = page.figure_names()
    assert {"surface_pattern_R0", "surface_tsnr", "surface_contribution_R0"} <= set(names)
    assert not {"pattern_R0", "tsnr", "contribution_R0"} & set(names)
    assert (small / "figures" / "surface_pattern_R0.png").exists()
    assert not (small / "figures" / "surface_contribution_R0.png").exists()
    assert "No mesh is at hand for 6 and 6 vertices." in page.text
    assert "pattern_R0_hemi-L.func.gii and pattern_R0_hemi-R.func.gii." in page.text
    assert "could not be drawn" not in page.text
    left = write_surface(small / "lh.surf.gii")
    code, _, _ = run("report", "--subject", "sim01", "--out", small, "--surfaces", left, left, "--quiet")
    assert code == 0
    assert "No mesh is at hand" not in Page(small / "report.html").text
    assert run("report", "--subject", "sim01", "--out", small, "--surfaces", left)[0] == 2


def test_shares_of_layers_have_intervals(small):
    fabricate_encoding(small)
    text = " ".join(Page(write_report(small)).text.split())
    assert "18.25 (12.50 to 24.75) 0.00 (0.00 to 1.00)" in text
    assert "Of 1,234 scans 17, which have more than twice the median variance" in text
    table = pd.read_csv(small / "encoding_layers.tsv", sep="\t")
    write_tsv(
        table.assign(share=np.nan, share_low=np.nan, share_high=np.nan, n_scans=0, n_left_out=0),
        small / "encoding_layers.tsv",
    )
    text = " ".join(Page(write_report(small)).text.split())
    assert "Here they could not be estimated" in text
    assert "n/a (n/a to n/a)" in text
    (small / "encoding_layers.tsv").unlink()
    assert "encoding_layers.tsv is missing. Run: brainpred encode" in Page(write_report(small)).text


def test_maps_of_scans_without_a_place_are_named(small):
    fabricate_encoding(small)
    tables = {name: [f"{name}.tsv"] for name in ("contribution_R0", "pattern_R0", "explainable_variance", "tsnr")}
    change_maps(small / "decode.json", **tables)
    change_maps(small / "encode.json", encoding_r=["encoding_r.tsv"])
    page = Page(write_report(small))
    assert not {*tables, "encoding_r", "surface_encoding_r"} & set(page.figure_names())
    assert "do not say where their voxels lie" in page.text
    assert all(f"{name}.tsv" in page.text for name in (*tables, "encoding_r"))
    assert "could not be drawn" not in page.text


def test_pictures_of_older_runs_go(small):
    write_report(small)
    for name in ("visual_field_R7.svg", "pattern_old.png", "null_old.tsv", "notes.txt"):
        (small / "figures" / name).write_text("old")
    write_report(small)
    left = {path.name for path in (small / "figures").iterdir()}
    assert "notes.txt" in left
    assert not left & {"visual_field_R7.svg", "pattern_old.png", "null_old.tsv"}


@pytest.mark.parametrize("name", ["quality_runs", "quality_rois"])
def test_half_written_table_of_quality_is_no_disaster(small, name):
    path = small / f"{name}.tsv"
    path.write_text(path.read_text().rstrip().rsplit("\t", 2)[0] + "\n")
    assert "n/a" in Page(write_report(small)).text


def test_what_to_run_again_is_said(small, capsys):
    fabricate_encoding(small)
    for name in ("lags.tsv", "encoding.tsv"):
        (small / name).unlink()
    text = Page(write_report(small, RichReporter())).text
    assert f"lags.tsv is missing. Run: brainpred decode --subject sim01 --out {small}" in text
    assert f"encoding.tsv is missing. Run: brainpred encode --subject sim01 --out {small}" in text
    assert "these figures could not be drawn: lags, encoding" in " ".join(capsys.readouterr().err.split())


def test_differences_from_baselines_are_told_where_they_were_computed(full, tmp_path):
    folder = shutil.copytree(full, tmp_path / "copy")
    table = pd.read_csv(folder / "layers.tsv", sep="\t", index_col="layer")
    first = table.loc[["R0", "R1"], "mean_r"].idxmax()
    rows = [(layer, "simulated", "pixels", 0.125, -0.25, 0.5) for layer in ("R0", "R1")]
    write_tsv(
        pd.DataFrame(rows, columns=["layer", "data", "baseline", "difference", "low", "high"]),
        folder / "differences.tsv",
    )
    text = Page(write_report(folder)).text
    assert f"a higher mean r than pixels ({first} less pixels: +0.125, 95 % interval −0.250 to +0.500)." in text
    assert "R1 − pixels +0.125 (−0.250 to +0.500). differences.tsv." in text


def test_names_cannot_smuggle_in_elements(tmp_path):
    nasty = '<script>alert("x")</script>'
    run = {"name": nasty, "role": "test", "n_scans": 7, "stimulus": nasty}
    folder = fabricate(
        tmp_path, [make_result("features", (8,), 7)], subject=nasty, dataset="a & b", runs=[run], roi_sizes={nasty: 9}
    )
    page = Page(write_report(folder))
    assert len(page.all("script")) == 2  # the viewer's own
    assert page.text.count(nasty) >= 3
    assert "a & b" in page.text


def test_roi_called_na_keeps_its_name(small):
    write_tsv(make_rois(("R0",), ("NA", "V1")).assign(contribution=[0.3, 0.1]), small / "roi_contributions.tsv")
    assert "NA gives 75 % of it" in Page(write_report(small)).text


def test_large_movie_is_left_beside_the_page(full, monkeypatch):
    monkeypatch.setattr(saved_module, "MAX_VIDEO_BYTES", 5)
    video = saved_module.read_reconstruction(full)["groups"][0]["video"]
    assert video["src"] == "reconstruction_R0.mp4"
    assert not video["inside"]


def test_broken_film_strip_and_scores_of_a_reconstruction_leave_notes(small):
    (small / "filmstrip_R0.png").write_bytes(b"no picture")
    (small / "reconstruction.tsv").write_text("layers\tdrive\nR0\tclosed-loop\textra\tmore\n")
    text = Page(write_report(small)).text
    assert "The reconstruction scores could not be read" in text
    assert "This figure could not be drawn: filmstrip_R0.png is not a PNG file." in text


def test_folder_without_results_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"no decode\.json\. Run: brainpred decode --subject SUBJECT --out "):
            write_report(folder)
    assert list(tmp_path.iterdir()) == []


def test_bands_may_be_written_in_several_ways(small):
    settings = json.loads((small / "decode.json").read_text())
    (small / "decode.json").write_text(json.dumps({**settings, "bands": "roi*delay"}))
    text = Page(write_report(small)).text
    assert "each region of interest at each delay has a regularisation of its own. The weights of the 6 bands" in text


def test_incomplete_results_are_refused(small):
    settings = json.loads((small / "decode.json").read_text())
    (small / "decode.json").write_text(json.dumps({**settings, "layers": ["R0", "R1"]}))
    with pytest.raises(DataError, match=r"layers\.tsv lacks layer R1"):
        write_report(small)
    (small / "layers.tsv").write_text("layer\tmean_r\nR0\t0.5\n")
    with pytest.raises(DataError, match=r"layers\.tsv lacks .*mean_ceiling.* Run: brainpred decode"):
        write_report(small)
    (small / "decode.json").write_text('{"subject": "sim01"}')
    with pytest.raises(DataError, match=r"decode\.json lacks dataset, simulated"):
        write_report(small)
    assert not (small / "report.html").exists()


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.254, 2, "0.25"), (-0.254, 2, "−0.25"), (-0.001, 2, "0.00"), (np.nan, 3, "n/a"), (12.6, 0, "13")],
)
def test_numbers_are_written_for_readers(value, digits, text):
    assert number(value, digits) == text
