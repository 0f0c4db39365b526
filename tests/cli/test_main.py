"""The command line as users meet it: exit codes, one-line errors, nothing left behind."""

import ast
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from brainpred.cli import main as main_module
from brainpred.cli import options
from brainpred.cli.main import main
from brainpred.cli.options import spread_lists
from brainpred.movies.video import write_video
from brainpred.recordings.manifest import manifest_names

KNOWN = ", ".join(manifest_names())


def one_line_error(captured):
    code, out, err = captured
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert out == ""
    return code, err


def test_help_needs_no_heavy_import():
    """`brainpred --help` must answer within a second, so it may not import torch."""
    script = (
        "import sys; from brainpred.cli.main import main; code = main(['--help']);"
        "heavy = {'torch', 'nilearn', 'himalaya', 'lightning', 'pandas', 'av'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "decode" in answer.stdout


def test_list_options_take_many_values():
    assert spread_lists(["x", "--delays", "3", "4.5", "--out", "a", "--layers=R0"]) == [
        "x", "--delays", "3", "--delays", "4.5", "--out", "a", "--layers=R0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["decode", "--subject", "alice"], "sim01"),
        (["decode", "--subject", "sub099", "--dataset", "haxby2001"], "sub001"),
        (["decode", "--subject", "sim01", "--dataset", "nothing"], KNOWN),
        (["decode", "--subject", "sim01", "--dataset", "mnist"], "mnist holds pictures and no recordings"),
        (["reconstruct", "--subject", "sim01", "--dataset", "mnist"], "mnist holds pictures and no recordings"),
        (["decode", "--subject", "sim01", "--layers", "R0", "R7"], "R0, R1, R2, R3"),
        (["decode", "--subject", "sim01", "--bands", "lobe"], "roi×delay"),
        (["decode", "--subject", "sim01", "--delays", "-1"], None),
        (["decode", "--subject", "sim01", "--candidates", "0"], "At least one"),
        (["decode", "--subject", "sim01", "--weights", "large"], "small"),
        (["decode", "--subject", "sim01", "--device", "tpu"], "auto, cpu, cuda"),
        (["decode", "--subject", "sim01", "--data", "/nowhere/at/all"], "BRAINPRED_DATA"),
        (["reconstruct", "--subject", "sim01", "--drive", "will"], "closed-loop, stimulus"),
        (["reconstruct", "--subject", "sim01", "--layers", "E0"], "R0, R1, R2, R3"),
        (["data", "simulate", "--subject", "alice"], "sim01"),
        (["features", "--movie", "MOVIE", "--tr", "0"], "positive"),
        (["data", "show", "nothing"], KNOWN),
        (["data", "fetch", "nothing"], KNOWN),
        (["data", "fetch", "haxby2001"], "PyMVPA source distribution"),
        (["data", "fetch", "mnist", "--data", "/nowhere/at/all"], "BRAINPRED_DATA"),
        (["train", "prednet", "--movies", "/nowhere", "--hold-out", "a.mp4"], "/nowhere"),
    ],
)
def test_unusable_options_exit_2_and_say_what_exists(run, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    code, _, err = run(*arguments)
    assert code == 2
    assert expected is None or expected in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_gpu_is_refused_before_anything_is_written(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, err = one_line_error(run("decode", "--subject", "sim01", "--device", "cuda", "--out", tmp_path / "out"))
    assert code == 2
    assert "no usable GPU" in err
    assert not (tmp_path / "out").exists()


def test_unknown_option_exits_2(run):
    code, _, err = run("decode", "--subject", "sim01", "--speed", "9")
    assert code == 2
    assert "--speed" in err


def test_unwritable_output_exits_2(run, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    code, err = one_line_error(run("decode", "--subject", "sim01", "--out", tmp_path / "file" / "results"))
    assert code == 2
    assert "Choose another output folder" in err


def test_truncated_movie_exits_1_and_leaves_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    movie = tmp_path / "movie.mp4"
    write_video(movie, rng.integers(0, 255, (40, 64, 80, 3), dtype=np.uint8), 15)
    movie.write_bytes(movie.read_bytes()[: movie.stat().st_size * 2 // 3])
    code, err = one_line_error(run("features", "--movie", movie, "--out", tmp_path / "f.h5", "--quiet"))
    assert code == 1
    assert "movie.mp4" in err
    assert not (tmp_path / "f.h5").exists()
    assert not list((tmp_path / "cache").rglob("*.h5"))


def _copy(data, tmp_path):
    return shutil.copytree(data, tmp_path / "data")


def _change(data, change):
    with h5py.File(data / "simulated" / "sim01" / "recording.h5", "r+") as file:
        change(file)


def _check_decode_fails(run, data, tmp_path, *expected):
    code, err = one_line_error(
        run("decode", "--subject", "sim01", "--data", data, "--out", tmp_path / "out", "--quiet")
    )
    assert code == 1
    for words in expected:
        assert words in err
    assert not (tmp_path / "out").exists()


def test_nan_voxels_exit_1_with_their_number_and_run(run, tiny_data, tmp_path):
    data = _copy(tiny_data, tmp_path)

    def change(file):
        file["runs/train-02"][4, [7, 11]] = np.nan

    _change(data, change)
    _check_decode_fails(run, data, tmp_path, "sim01", "run train-02", "2 of 419 voxels", "voxel 7")


def test_wrong_number_of_voxels_exits_1_with_both_numbers(run, tiny_data, tmp_path):
    data = _copy(tiny_data, tmp_path)

    def change(file):
        attributes = dict(file["runs/train-01"].attrs)
        bold = file["runs/train-01"][:, :-3]
        del file["runs/train-01"]
        file["runs/train-01"] = bold
        file["runs/train-01"].attrs.update(attributes)

    _change(data, change)
    _check_decode_fails(run, data, tmp_path, "run train-01", "419", "416", "mask")


def test_scan_longer_than_its_movie_exits_1_with_both_lengths(run, tiny_data, tmp_path):
    data = _copy(tiny_data, tmp_path)

    def change(file):
        attributes = dict(file["runs/train-03"].attrs)
        bold = np.tile(file["runs/train-03"][:], (2, 1))
        del file["runs/train-03"]
        file["runs/train-03"] = bold
        file["runs/train-03"].attrs.update(attributes)

    _change(data, change)
    _check_decode_fails(run, data, tmp_path, "run train-03", "22 scans", "11", "repetition time")


def test_damaged_recording_exits_1_and_says_how_to_make_it_again(run, tiny_data, tmp_path):
    data = _copy(tiny_data, tmp_path)
    path = data / "simulated" / "sim01" / "recording.h5"
    path.write_bytes(path.read_bytes()[:2000])
    _check_decode_fails(run, data, tmp_path, "brainpred data simulate --subject sim01 --overwrite")


def test_truncated_stimulus_exits_1(run, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    data = _copy(tiny_data, tmp_path)
    movie = next((data / "simulated" / "stimuli").glob("test-01*"))
    movie.write_bytes(movie.read_bytes()[: movie.stat().st_size // 2])
    _check_decode_fails(run, data, tmp_path, movie.name)


def test_reconstruct_before_decode_names_the_command(run, tmp_path):
    code, err = one_line_error(run("reconstruct", "--subject", "sim01", "--out", tmp_path / "out"))
    assert code == 1
    assert "brainpred decode --subject sim01" in err
    assert not (tmp_path / "out").exists()


def test_interrupt_exits_130_and_says_how_to_go_on(run, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("brainpred.recordings.manifest.manifest_names", interrupted)
    code, _, err = run("data", "list")
    assert code == 130
    assert "same command again" in err


def test_data_commands_describe_what_there_is(run):
    code, out, _ = run("data", "list")
    assert code == 0
    assert "haxby2001" in out
    assert "simulated" in out
    assert re.search(r"^mnist .*digits.* \(pictures\)$", out, re.MULTILINE)
    code, out, _ = run("data", "show", "haxby2001")
    assert code == 0
    assert "10.1126/science.1063736" in out
    assert "subjects: sub001\n" in out
    assert re.search(r"^manifest: .*/data_manifests/haxby2001\.yaml$", out, re.MULTILINE)
    assert "files:\n  bold: slice/bold.nii.gz\n" in out
    assert "defects:\n  - One axial slice" in out
    code, out, _ = run("data", "show", "mnist")
    assert code == 0
    assert "10.1109/5.726791" in out
    assert re.search(
        r"^downloads:\n  - file: mnist\.npz, url: https://\S+/mnist\.npz, sha256: [0-9a-f]{64}$", out, re.MULTILINE
    )


def test_fetching_what_is_there_says_so(run, tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "mnist.npz").write_bytes(b"put here by hand")
    code, out, err = run("data", "fetch", "mnist", "--data", tmp_path)
    assert (code, err) == (0, "")
    assert out == f"{tmp_path / 'mnist' / 'mnist.npz'}: already there, with another checksum\n"


def test_fetching_without_a_network_exits_1_and_leaves_nothing(run, tmp_path, monkeypatch):
    def refused(*arguments, **options):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("pooch.retrieve", refused)
    code, err = one_line_error(run("data", "fetch", "mnist", "--data", tmp_path, "--quiet"))
    assert code == 1
    assert "Connection refused" in err
    assert "by hand" in err
    assert list(tmp_path.iterdir()) == []


def test_version(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("brainpred ")


def test_features_command_writes_every_layer(run, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINPRED_CACHE", str(tmp_path / "cache"))
    movie = tmp_path / "clip.mp4"
    write_video(movie, np.random.default_rng(1).integers(0, 255, (36, 72, 120, 3), dtype=np.uint8), 12)
    code, out, _ = run("features", "--movie", movie, "--tr", "1.5", "--out", tmp_path / "f.h5", "--quiet")
    assert code == 0
    assert "R0: 2 x 3x64x80" in out
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["R3"].shape == (48 * 8 * 10, 2)
        assert file.attrs["tr_s"] == 1.5


def test_main_returns_within_a_second_for_help(capsys):
    began = time.monotonic()
    assert main(["--help"]) == 0
    assert time.monotonic() - began < 1.0
    assert "reconstruct" in capsys.readouterr().out


def test_no_option_is_described_twice():
    """What several commands share is defined once, in options.py."""
    words = Counter()
    for path in Path(options.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("Option", "Argument"):
                words.update(keyword.value.value for keyword in node.keywords
                             if keyword.arg == "help" and isinstance(keyword.value, ast.Constant))  # fmt: skip
    assert len(words) > 60
    assert [text for text, n in words.items() if n > 1] == []


def test_numbers_that_do_not_exist_are_n_a(capsys):
    table = pd.DataFrame({"layer": ["R0", "R1"], "ceiling": [0.5, np.nan], "nothing": [np.nan, np.nan]})
    main_module._print_table("title", table, {"layer": "layer", "ceiling": "ceiling", "nothing": "nothing"})
    printed = capsys.readouterr().out
    assert "n/a" in printed
    assert "nan" not in printed
    assert "nothing" not in printed
