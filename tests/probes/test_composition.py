"""Embeddings that are sums are found to be, others not; averages over networks say how far networks differ."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student_t

from brainpred.errors import DataError
from brainpred.movies.captions import load_grammar
from brainpred.probes.composition import COMPOUNDS, analogies, compositionality, summarise

WORDS = load_grammar("B").vocabulary


def _vectors(seed, *, sums):
    vectors = np.random.default_rng(seed).standard_normal((len(WORDS), 32))
    if sums:
        for compound, (a, b) in COMPOUNDS.items():
            vectors[WORDS.index(compound)] = vectors[WORDS.index(a)] + vectors[WORDS.index(b)]
    return vectors


def test_sums_are_found():
    table = compositionality(_vectors(0, sums=True), WORDS).set_index(["vectors", "compound"])
    assert len(table) == 8
    np.testing.assert_allclose(table.loc["raw", "cosine"], 1)
    assert (table["rank"] == 1).all()
    assert (table["wrong_parts"] < 0.6).all()
    assert (table["random_parts"].abs() < 0.4).all()
    answers = analogies(_vectors(0, sums=True), WORDS)
    assert len(answers) == 8
    np.testing.assert_allclose(answers["cosine"], 1)
    assert (answers["rank"] == 1).all()
    assert (answers["n_words"] == len(WORDS) - 1 - 3).all()
    assert "左上 - 左 + 右" in set(answers["question"])


def test_unrelated_vectors_are_at_chance():
    tables = [compositionality(_vectors(seed, sums=False), WORDS) for seed in range(30)]
    both = pd.concat(tables)
    raw = both[both["vectors"] == "raw"]
    assert abs(raw["cosine"].mean()) < 0.05
    assert 2.2 < raw["rank"].mean() < 2.8
    ranks = pd.concat([analogies(_vectors(seed, sums=False), WORDS) for seed in range(30)])["rank"]
    assert 9 < ranks.mean() < 14


def test_cosine_by_hand():
    vectors = _vectors(1, sums=False)
    e = dict(zip(WORDS, vectors, strict=True))
    row = compositionality(vectors, WORDS).query("vectors == 'raw' and compound == '右上'").iloc[0]
    total = e["右"] + e["上"]
    assert row["cosine"] == pytest.approx(total @ e["右上"] / np.linalg.norm(total) / np.linalg.norm(e["右上"]))
    wrong = [e[a] + e[b] for a, b in ("左上", "左下", "右下")]
    cosines = [one @ e["右上"] / np.linalg.norm(one) / np.linalg.norm(e["右上"]) for one in wrong]
    assert row["wrong_parts"] == pytest.approx(sum(cosines) / 3)
    assert row["best_wrong"] == pytest.approx(max(cosines))
    assert row["length"] == pytest.approx(sum(value**2 for value in e["右上"]) ** 0.5)
    mean = np.mean([e[word] for word in ("左", "右", "上", "下", *COMPOUNDS)], axis=0)
    row = compositionality(vectors, WORDS).query("vectors == 'centred' and compound == '右上'").iloc[0]
    total, compound = e["右"] + e["上"] - 2 * mean, e["右上"] - mean
    assert row["cosine"] == pytest.approx(total @ compound / np.linalg.norm(total) / np.linalg.norm(compound))


def test_other_vocabularies_are_refused():
    with pytest.raises(DataError, match="lacks 上, 下"):
        compositionality(np.zeros((3, 2)), ["", "左", "右"])


def test_summary_of_cosines_has_intervals_of_fishers_z():
    tables = [compositionality(_vectors(seed, sums=False), WORDS) for seed in range(5)]
    summary = summarise(tables, ("vectors", "compound"))
    z = np.arctanh([table["cosine"] for table in tables])
    half = student_t.ppf(0.975, 4) * z.std(0, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(summary["cosine"], np.tanh(z.mean(0)))
    np.testing.assert_allclose(summary["cosine_low"], np.tanh(z.mean(0) - half))
    np.testing.assert_allclose(summary["cosine_high"], np.tanh(z.mean(0) + half))
    assert (summary["n_networks"] == 5).all()
    single = summarise(tables[:1], ("vectors", "compound"))
    assert single["cosine_low"].isna().all()
    np.testing.assert_allclose(single["cosine"], tables[0]["cosine"])


def test_summary_has_no_impossible_numbers():
    """Networks that differ much: Student's interval of their ranks and cosines would leave what is possible."""
    vectors = [_vectors(0, sums=True), *(_vectors(seed, sums=False) for seed in range(3))]
    for measure, keys in ((compositionality, ("vectors", "compound")), (analogies, ("question", "answer"))):
        tables = [measure(one, WORDS) for one in vectors]
        summary, together = summarise(tables, keys), pd.concat(tables)
        for cosine in {"cosine", "wrong_parts", "best_wrong", "random_parts"} & set(together):
            assert (summary[f"{cosine}_low"] > -1).all()
            assert (summary[f"{cosine}_high"] < 1).all()
        for number in {"rank", "length"} & set(together):
            of_names = together.groupby(list(keys), sort=False)[number]
            np.testing.assert_allclose(summary[number], of_names.mean())
            np.testing.assert_allclose(summary[f"{number}_least"], of_names.min())
            np.testing.assert_allclose(summary[f"{number}_most"], of_names.max())
            assert f"{number}_low" not in summary
        assert (summary["rank_most"] > summary["rank_least"]).any()
