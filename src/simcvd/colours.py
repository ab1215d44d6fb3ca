"""Colours of classes, wherever a person looks at some."""

from __future__ import annotations

from colorsys import hsv_to_rgb

# Okabe and Ito's, which differ for colour-blind readers too; further classes turn the hue.
OKABE_ITO = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
BACKGROUND = "#000000"


def class_colour(index: int) -> str:
    """The colour of class 0, 1, ... as ``#rrggbb``; background is black."""
    if index == 0:
        return BACKGROUND
    if index <= len(OKABE_ITO):
        return OKABE_ITO[index - 1]
    red, green, blue = (round(255 * c) for c in hsv_to_rgb(index * 0.618034 % 1, 0.65, 0.95))
    return f"#{red:02x}{green:02x}{blue:02x}"
