"""Films of games: GIF, or PNG and WebP with several frames, in the emulator's exact colours."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rltrainer import atomic

FRAME_MS: Final = 70
"""Four frames at 60 a second are 66.7 ms; a GIF counts in hundredths of a second."""
STEPS_MAX: Final = 1800
"""Two minutes of play."""


class Film:
    """Screens in the order in which they were seen; an Atari has 128 colours, so that one palette holds them all."""

    def __init__(self) -> None:
        self.is_cut = False
        """More was to be seen than it holds."""
        self._frames: list[NDArray[np.uint8]] = []
        self._colours: list[int] = []
        self._places = np.full(1 << 24, -1, np.int16)
        """Of each colour in the palette; -1: not there."""

    def add(self, screen: NDArray[np.uint8]) -> None:
        """Take one screen, [height, width, 3]."""
        if len(self._frames) == STEPS_MAX:
            self.is_cut = True
            return
        red, green, blue = np.moveaxis(screen.astype(np.uint32), -1, 0)
        colours = red << 16 | green << 8 | blue
        for colour in np.unique(colours[self._places[colours] < 0]):
            self._places[colour] = len(self._colours)
            self._colours.append(int(colour))
        self._frames.append(self._places[colours].astype(np.uint8))

    def write(self, path: Path, kind: str) -> None:
        """Write the film whole or not at all, in a format that Pillow knows.

        Raises:
            OSError: it can't be written.
        """
        palette = [colour >> shift & 255 for colour in self._colours for shift in (16, 8, 0)]
        images = []
        for frame in self._frames:
            images.append(Image.fromarray(frame, "P"))
            images[-1].putpalette(palette)
        buffer = io.BytesIO()
        images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=FRAME_MS, loop=0)
        temporary = path.with_name(f".{path.name}.tmp")
        atomic.replace(path, (buffer.getvalue(),), temporary=temporary, durable=False)
