"""
What alignDRAW learns from captions
===================================

alignDRAW (Mansimov et al., 2016) draws a picture from a caption in 32 steps, each attending to some of the words.
:doc:`/howto/aligndraw` says how to draw, train and judge; this page shows what came out.
"""

# %%
# Pictures
# --------
# The network of study B reads Japanese captions, word by word, about where a handwritten digit is. Each row is a
# caption, each picture another draw of z: figure 4 of document 000.

import numpy as np

from brainpred.models.aligndraw_weights import load_aligndraw
from brainpred.movies.captions import load_grammar
from brainpred.reporting.drawings import drawing_grid
from brainpred.studies.aligndraw import draw_captions

N_PICTURES = 8
network, name = load_aligndraw("B")
grammar = load_grammar(name)
captions = [
    grammar.parse(f"数字{digit}が画像の{place}にある。")
    for digit, place in zip((7, 3, 5, 0, 2, 8), ("左上", "右下", "左", "右", "上", "下"), strict=True)
]
pictures = draw_captions(network, grammar, np.repeat(np.array(captions, object), N_PICTURES).tolist())
grid = drawing_grid(captions, pictures.reshape(len(captions), N_PICTURES, *pictures.shape[1:]))
