"""Show what a page of the gallery makes: figures in the house style, which pyplot does not know, and videos."""

import base64
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

__all__ = ["save_figures"]

DPI = 150


def save_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save every figure and embed every MP4 file that a block gave a name; sphinx-gallery calls this after each."""
    names = block_vars["example_globals"]
    shown = names.setdefault("_shown", set())
    made = {name: value for name, value in names.items() if isinstance(value, (Figure, Path))}
    parts = []
    for value in made.values():
        key = str(value) if isinstance(value, Path) else id(value)
        if key in shown:
            continue
        shown.add(key)
        if isinstance(value, Figure):
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=DPI)
            parts.append(figure_rst([path], gallery_conf["src_dir"], value.get_suptitle()))
        elif value.suffix == ".mp4":
            film = base64.b64encode(value.read_bytes()).decode()
            source = f"data:video/mp4;base64,{film}"
            parts.append(f'\n.. raw:: html\n\n   <video controls loop muted width="480" src="{source}"></video>\n')
    return "\n".join(parts)
