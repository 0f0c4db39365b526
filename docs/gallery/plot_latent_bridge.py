"""
What a latent bridge needs, and what it gives
=============================================

Document 002 joins two generative models that were trained apart, a VAE of images of digits and one of their labels, by
what a few pairs tell about the latents of one given those of the other. Its bridge finds log p(image | label) of −352,
where the image VAE has −90. This page shows its experiments, explains the gap, closes it, and lets the brain take the
place of the labels. :doc:`/howto/latent_bridge` says how to run all of it; the figures and tables are what
``brainpred probe bridge mnist`` and ``brainpred probe bridge brain`` wrote.
"""

# %%
# Training
# --------
# Figure 1 of the document: the objective, KL[q || posterior], while its network is trained. It falls and settles, at
# every number of pairs. That it settles says nothing about where.

from pathlib import Path

import numpy as np
import pandas as pd

from brainpred.reporting.bridge import curve_figure, label_figure, latents_figure, quality_figure

data = Path("../data/latent_bridge")
with np.load(data / "figures.npz") as content:
    saved = {name: content[name] for name in content.files}
PAIRS = (256, 1024, 8192)


def curves(direction):
    """Give the objective by number of pairs, means of ten updates."""
    return {f"N = {pairs}": saved[f"document/trained/{pairs}/{direction}_curve"].repeat(10) for pairs in PAIRS}


objective = curve_figure(
    {"label from image": curves("label"), "image from label": curves("image")}, "Objective of document 002's bridge"
)

# %%
# Images from labels
# ------------------
# Figure 2, in the document's setting. The columns are labels; every row is another draw. The digits are right and all
# alike: averaged over the images of one label, KL[q || posterior] is least for one narrow distribution in the middle of
# their posteriors. Real digits of that label are far outside; and as it is the direction of the divergence and no lack
# of pairs, more pairs do not help.


def images(setting, image_vae):
    """Give generated images by number of pairs, and the VAE's own."""
    made = {f"N = {pairs}": saved[f"{setting}/{image_vae}/{pairs}/made"] / 255 for pairs in PAIRS}
    return made | {"VAE itself": saved[f"own/{image_vae}/made"] / 255}


figure2 = label_figure(images("document", "trained"), "Images from labels, as in document 002")

# %%
# The same with brainpred's default: a mixture of normal distributions over both latents, guided by a network that reads
# labels from latents. The VAE itself knows no labels; of its draws, those are shown that a classifier takes for each.

figure2_default = label_figure(images("default", "trained"), "Images from labels, default")

# %%
# Table 1 of the document, with what it lacks. *log p(x|y)* is log p(image | label), importance-sampled on digits that
# the bridge has never seen, and *log p(x)* the image VAE's own log p(image) on the same digits. Knowing the label
# is worth log 10 = 2.3 nats at the most; a bridge can gain more, as its mixture fits the latents of real images better
# than the VAE's prior does. *Gain* is the difference. *Document's* is the document's estimate, the
# log of a mean over 100 draws from the bridge: none of them comes near the image, and the mean is far below the
# integral. That is the other part of the gap. With latents drawn from the image's own posterior (the last rows) it is
# no marginal at all. *Draws* is how many of 500 count: where they are few, as in the document's setting,
# log p(x|y) is a lower bound, by a nat or so. *Read* is the part of generated
# digits that a classifier takes for their label, *variety* their variance within a label over that of the VAE's own
# reconstructions.


def tidy(name, columns, digits):
    """Read a table of means over three seeds, with short headings."""
    table = pd.read_csv(data / name, sep="\t").astype({"pairs": "Int64"})
    table = table.rename(columns={"image_vae": "image VAE"}).sort_values(
        ["setting", "image VAE", "pairs"], kind="stable"
    )
    table = table.set_index(["setting", "image VAE", "pairs"])[list(columns)].rename(columns=columns)
    return table.style.format(precision=digits, na_rep="")


tidy(
    "table1.tsv",
    {
        "log_p_x": "log p(x|y)", "log_p_x_own": "log p(x)", "log_p_x_gain": "gain", "log_p_x_document": "document's",
        "log_p_x_effective": "draws", "recognised": "read", "diversity": "variety",
    },
    2,
)  # fmt: skip

# %%
# Labels from images
# ------------------
# Figure 3: a draw of the label's latents for each of 2,000 images, coloured by the true label. First the document's
# setting, then the default.


def latents(setting, image_vae):
    """Give label latents by number of pairs, and the label VAE's own."""
    names = {f"N = {pairs}": f"{setting}/{image_vae}/{pairs}" for pairs in PAIRS} | {"label VAE itself": "own"}
    return {name: (saved[f"{key}/points"].astype(float), saved[f"{key}/labels"]) for name, key in names.items()}


figure3 = latents_figure(latents("document", "trained"), "Label latents from images, as in document 002")
figure3_default = latents_figure(latents("default", "trained"), "Label latents from images, default")

# %%
# Table 2. The document reports log p(y) of −0.0456 for its bridges and for the label VAE alike. No marginal over ten
# labels, each as frequent, can be above −log 10 = −2.30. The estimate is above it because its latents are drawn from
# the posterior of the label itself: it says that the label VAE reads its own latents well, and nothing about images.
# *log p(y|x)* is log p(label | image), importance-sampled; *on the grid*, the same by quadrature over the two latents.

tidy(
    "table2.tsv",
    {
        "log_p_y": "log p(y|x)", "log_p_y_grid": "on the grid", "log_p_y_document": "document's",
        "log_p_y_effective": "draws", "accuracy": "accuracy",
    },
    3,
)  # fmt: skip

# %%
# An image VAE that was stopped early
# -----------------------------------
# Figures 4 and 5: the image VAE after 3 epochs. A bridge can be no better than the models it joins.

figure4 = label_figure(images("default", "3 epochs"), "Images from labels, image VAE of 3 epochs, default")
figure5 = latents_figure(latents("default", "3 epochs"), "Label latents from images, image VAE of 3 epochs, default")

# %%
# How many pairs?
# ---------------

runs = pd.read_csv(data / "runs.tsv", sep="\t")
trained = runs[(runs["image_vae"] == "trained") & runs["setting"].isin(["default", "document"])]
own = float(trained["log_p_x_own"].mean())
quality = quality_figure(
    trained, {"log_p_x": own, "recognised": np.nan, "diversity": 1.0, "accuracy": np.nan}, "Quality against pairs"
)

# %%
# From the brain
# --------------
# Ninety pictures, and 3,000 simulated voxels that see them through receptive fields as in early visual cortex. Each
# picture is reconstructed while it is left out, beside controls: ridge regression to the picture's latents or to its
# pixels, the mean picture, and the same bridge learned from pairs in another order.

from brainpred.reporting.bridge import reconstruction_figure, scores_figure

with np.load(data / "brain.npz") as content:
    made = {name: content[name] / 255 for name in content.files if name != "coverage"}
    coverage = float(content["coverage"])
seen, spread = made.pop("seen"), made.pop("spread")
pictures = reconstruction_figure(seen, made, spread, simulated=True)

# %%

brain = pd.read_csv(data / "brain.tsv", sep="\t")
voxels = pd.read_csv(data / "brain_voxels.tsv", sep="\t")
scores = scores_figure(brain, coverage, voxels, simulated=True)

# %%
# The way back, voxels from pictures, is the same code with source and target exchanged. In grey: pictures in another
# order. The bridge sees what its latents generate, ridge regression the pixels themselves; r is 0 on average for voxels
# without signal.

pd.DataFrame(
    {
        "median r": voxels[["r", "r_ridge", "r_shuffled"]].median().to_numpy().round(3),
        "voxels beyond chance (q < 0.05)": [(voxels["q"] < 0.05).sum(), (voxels["q_ridge"] < 0.05).sum(), "not tested"],
    },
    index=["bridge", "ridge regression from pixels", "shuffled pairs"],
)

# %%
# The components of the voxels were computed from all ninety patterns, those left out included, and from no picture.
# Where even the patterns must not be seen (``--strict``), the bridge keeps its lead in
# SSIM and 2-way identification alone, and loses in pixel r and MSE:

strict = pd.read_csv(data / "brain_strict.tsv", sep="\t")
pd.concat([brain.assign(components="all patterns"), strict.assign(components="strict")]).pivot_table(
    index="metric", columns=["components", "method"], values="mean", sort=False
)[["all patterns", "strict"]].round(3).transpose()
