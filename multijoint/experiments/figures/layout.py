"""Parts that figures share: wrapped names, axes, legends and files."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from custom_components.domains import COLORS
from custom_components.system.files import write_atomically
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from multijoint.experiments.jobs.methods import known_methods

LINE_COLORS = [*(color for color in COLORS if color != "#F0E442"), "#000000"]
"""The colours of the bones for lines on white, where black takes the place of yellow, which is too light there."""


def order_methods(methods: Iterable[str]) -> list[str]:
    """The paper's methods in its order, then others in the order given, each once.

    Example:
        >>> order_methods(["mine", "proposed", "unet-base", "mine"])
        ['unet-base', 'proposed', 'mine']
    """
    present = list(dict.fromkeys(methods))
    known = [name for name in known_methods() if name in present]
    return known + [name for name in present if name not in known]


def wrap_name(name: str, width: int) -> str:
    r"""Break a name into lines of at most `width` characters, also after its underscores, plus signs and hyphens.

    Example:
        >>> wrap_name("sub-01_ses-baseline", 8)
        'sub-01_\nses-\nbaseline'
    """
    mark = "\0"
    breakable = name.replace("_", f"_{mark} ").replace("+", f"+{mark} ")
    return textwrap.fill(breakable, width).replace(f"{mark} ", "").replace(mark, "")


def add_axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches from the lower left corner of a figure."""
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes((x / total_width, y / total_height, width / total_width, height / total_height))


def add_legend(figure: Figure, handles: Sequence[Line2D], *, top: float, columns: int, **style: Any) -> None:
    """Add a centred legend whose upper edge is `top` inches above the lower edge of a figure."""
    place = (0.5, top / figure.get_figheight())
    style = {"fontsize": 8.5, "frameon": False, "borderaxespad": 0} | style
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=place, ncol=columns, **style)


def style_axes(plot: Axes, *, grid: Literal["y", "both"]) -> None:
    """Draw a light grid of major lines along the "y" axis or "both" below the data, and no frame at top and right."""
    plot.grid(True, axis=grid, color="0.9", linewidth=0.6)
    plot.set_axisbelow(True)
    plot.spines[["top", "right"]].set_visible(False)


def format_logarithmic(axis: Axis, steps: Sequence[float] = (1, 2, 5)) -> None:
    """Print plain numbers at these multiples of the powers of ten on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def save_figure(path: Path, figure: Figure) -> Path:
    """Write a figure as PNG (150 dpi) or SVG, by the suffix; the same figure gives the same bytes. Returns the path."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    figure.savefig(buffer, format=path.suffix[1:], dpi=150, metadata=metadata)
    write_atomically(path, buffer.getvalue())
    return path
