"""Made-up driven systems, of which any number of records can be had."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.signal import butter, sosfilt

Record = tuple[pd.Series, pd.DataFrame]

#: Deviation of the noise on measured outputs over that of the outputs.
NOISE = 0.005
#: Steps of integration in one of sampling.
SUBSTEPS = 10


def made_up(name: str, seed: int, excitation: str) -> Record:
    """Return the output of a system and its input, excited by "noise" or "levels"."""
    rows, system = SYSTEMS[name]
    rng = np.random.default_rng(seed)
    u = EXCITATIONS[excitation](rng, rows)
    y = system(u)
    y += NOISE * y.std() * rng.standard_normal(rows)
    return pd.Series(y, name="y"), pd.DataFrame({"u": u})


def noise(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Noise of the lowest tenth of frequencies, of deviation 1."""
    sos = butter(4, 0.1, output="sos")
    u = sosfilt(sos, rng.standard_normal(rows + 200))[200:]
    return u / u.std()


def levels(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Levels between -1.7 and 1.7, each held for 5 to 60 rows."""
    held = rng.integers(5, 61, size=rows // 5)
    return np.repeat(rng.uniform(-1.7, 1.7, size=len(held)), held)[:rows]


def tanks(u: np.ndarray) -> np.ndarray:
    """The level of the lower of two tanks, both of which overflow."""
    pump = np.clip(2.0 + u, 0.0, None)
    upper = lower = 4.0
    y = np.empty(len(u))
    for row, flow in enumerate(pump):
        for _ in range(SUBSTEPS):
            out = np.sqrt(max(upper, 0.0))
            over = max(upper - 10.0, 0.0)
            upper = min(upper + 0.04 * (flow - out), 10.0)
            lower = min(lower + 0.04 * (out + 0.3 * over - np.sqrt(max(lower, 0.0))), 10.0)
        y[row] = lower
    return y


def saturation(u: np.ndarray) -> np.ndarray:
    """A saturation between two filters."""
    first, last = butter(2, 0.15, output="sos"), butter(2, 0.3, output="sos")
    return sosfilt(last, np.tanh(1.5 * sosfilt(first, u)))


def hysteresis(u: np.ndarray) -> np.ndarray:
    """The position of a mass on a spring of Bouc and Wen."""
    position = speed = force = 0.0
    y = np.empty(len(u))
    for row, push in enumerate(u):
        for _ in range(SUBSTEPS):
            force += 0.05 * (speed - 0.5 * abs(speed) * force - 0.3 * speed * abs(force))
            speed += 0.05 * (push - 0.3 * speed - 0.5 * position - force)
            position += 0.05 * speed
        y[row] = position
    return y


def resonance(u: np.ndarray) -> np.ndarray:
    """The position of a mass on a spring that hardens."""
    position = speed = 0.0
    y = np.empty(len(u))
    for row, push in enumerate(u):
        for _ in range(SUBSTEPS):
            speed += 0.05 * (push - 0.3 * speed - position - 0.3 * position**3)
            position += 0.05 * speed
        y[row] = position
    return y


#: Names to numbers of rows and what makes outputs of inputs.
SYSTEMS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "two_tanks": (1024, tanks),
    "saturation": (2000, saturation),
    "hysteresis": (8000, hysteresis),
    "resonance": (8000, resonance),
}
EXCITATIONS = {"noise": noise, "levels": levels}
