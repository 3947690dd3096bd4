"""Curves of a training as SVG that stands in a page: no colour alone tells the lines apart."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence

__all__ = ["draw_curves"]

_WIDTH, _HEIGHT = 480, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_MARKS = ("circle", "square", "diamond", "triangle")

Points = Sequence[tuple[float, float]]


def draw_curves(
    curves: Mapping[str, Points], *, title: str, limits: tuple[float, float] | None = None, best: float | None = None
) -> str:
    """Draw lines over epochs, each with a dash, a mark and a colour (CSS classes `line0`, `line1`, ...) of its own.

    Args:
        curves: name -> (epoch, value) pairs.
        title: says what is drawn, for those who hear it.
        limits: of the values; those found, if None.
        best: an epoch to mark.

    Returns:
        An `svg` element and its legend; a sentence if there is nothing to draw.
    """
    curves = {name: points for name, points in curves.items() if points}
    every = [point for points in curves.values() for point in points]
    if not every:
        return f"<p>{html.escape(title)}: nothing recorded.</p>"
    first, last = min(1.0, *(x for x, _ in every)), max(x for x, _ in every)
    low, high = limits or (min(y for _, y in every), max(y for _, y in every))
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / ((last - first) or 1)
        upwards = (y - low) / ((high - low) or 1)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - upwards * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_axes(ticks, first, last, place)]
    if best is not None:
        x, _ = place(best, low)
        anchor = "end" if x > _WIDTH / 2 else "start"
        shift = -5 if x > _WIDTH / 2 else 5
        parts.append(
            f'<line class="best" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            f'<text x="{x + shift:.1f}" y="{_HEIGHT - _BOTTOM - 8}" text-anchor="{anchor}">best: epoch {best:g}</text>'
        )
    for k, points in enumerate(curves.values()):
        placed = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline class="line line{k % len(_MARKS)}" points="{path}"/>')
        every_so_many = max(1, len(placed) // 20)
        parts += [_mark(k, x, y) for x, y in placed[::every_so_many]]
    names = [html.escape(name) for name in curves]
    picture = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}, '
        f'epochs {first:g} to {last:g}">{"".join(parts)}</svg>'
    )
    legend = "".join(
        f'<li><svg viewBox="0 0 40 12" aria-hidden="true"><line class="line line{k % len(_MARKS)}" '
        f'x1="1" x2="39" y1="6" y2="6"/>{_mark(k, 20, 6)}</svg>{name}</li>'
        for k, name in enumerate(names)
    )
    return (
        f'<figure class="curves"><figcaption>{html.escape(title)}</figcaption>{picture}'
        f'<ul class="legend">{legend}</ul></figure>'
    )


def _axes(
    ticks: Sequence[float], first: float, last: float, place: Callable[[float, float], tuple[float, float]]
) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]))) if len(ticks) > 1 else 3
    parts = []
    for tick in ticks:
        _, y = place(first, tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.{digits}f}</text>'
        )
    for tick in _ticks(first, last, whole=True):
        if first <= tick <= last:
            x, _ = place(tick, ticks[0])
            parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">epoch</text>')
    return "".join(parts)


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Up to seven round numbers that cover a range.

    Example:
        >>> _ticks(0.12, 0.49)
        [0.1, 0.2, 0.3, 0.4, 0.5]
        >>> _ticks(1, 16, whole=True)
        [0, 5, 10, 15, 20]
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= 5)
    step = max(1, round(step)) if whole else step
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(start, max(stop, start + 1) + 1)]


def _mark(k: int, x: float, y: float) -> str:
    kind = _MARKS[k % len(_MARKS)]
    if kind == "circle":
        return f'<circle class="mark line{k % len(_MARKS)}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    kinds: dict[str, list[tuple[float, float]]] = {
        "square": [(-2.7, -2.7), (2.7, -2.7), (2.7, 2.7), (-2.7, 2.7)],
        "diamond": [(0, -4), (4, 0), (0, 4), (-4, 0)],
        "triangle": [(0, -4), (3.6, 3), (-3.6, 3)],
    }
    path = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in kinds[kind])
    return f'<polygon class="mark line{k % len(_MARKS)}" points="{path}"/>'
