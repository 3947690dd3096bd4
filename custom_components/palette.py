"""The colours of bones, in every picture."""

from __future__ import annotations

__all__ = ["COLORS"]

COLORS = ["#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#F0E442", "#0072B2"]
"""Okabe and Ito's palette without black: told apart by colour-blind readers. In the order of the labels, repeated."""
