"""Rows of score tables."""

from __future__ import annotations

import math

from custom_components.metrics.score_tables import COLUMNS

__all__ = ["NAN", "ankle_and_shoulder", "lost", "row"]


NAN = math.nan


def row(case="c1", domain="ankle", label="talus", dice=0.9, assd_mm=0.5, mssd_mm=4.0, status="ok", border="inside"):
    values = (case, f"subject of {case}", domain, label, dice, assd_mm, mssd_mm, status, border, 6, "0.5x0.5x3")
    return dict(zip(COLUMNS, values, strict=True))


def lost(case, status, label="talus", domain="ankle"):
    return row(case, domain, label, NAN if status == "absent" else 0.0, NAN, NAN, status)


def ankle_and_shoulder():
    return [
        row("c1", dice=0.8, assd_mm=1.0, mssd_mm=4.0),
        row("c1", label="tibia", dice=0.9, assd_mm=2.0, mssd_mm=6.0),
        row("s1", "shoulder", "humerus", 0.7, 3.0, 20.0),
        row("c2", dice=0.6, assd_mm=3.0, mssd_mm=10.0),
        lost("c2", "missed", "tibia"),
        lost("c3", "false_find"),
        lost("c3", "absent", "tibia"),
    ]
