"""
Simulate a magnet: hysteresis
=============================

The field of a magnet follows the current in its coils, but not the same way up and down: it has
a memory. What current will be applied is known, so the field can be simulated ahead, for any number
of steps.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from sktime_tlstm import TransformerLSTMForecaster

torch.set_num_threads(1)

# %%
# The system
# ----------
# The model of Bouc and Wen (Wen 1976, "Method for random vibration of hysteretic systems", Journal
# of the Engineering Mechanics Division 102): the field is a linear part of the current and a memory
# that follows the current's changes until it saturates.


def current(steps, seed):
    """Return a slow random current between -1 and 1."""
    rng = np.random.default_rng(seed)
    time = np.arange(steps)[:, None]
    period, phase = rng.uniform(60, 400, size=12), rng.uniform(0, 2 * np.pi, size=12)
    u = np.sin(2 * np.pi * time / period + phase).sum(axis=1)
    return u / np.abs(u).max()


def field(u):
    """Return the field of a current, from a magnet that was never used."""
    memory, found = 0.0, np.zeros(len(u))
    for step, change in enumerate(np.diff(u, prepend=0.0)):
        memory += 3 * change - 2 * abs(change) * memory - change * abs(memory)
        found[step] = 0.5 * u[step] + memory
    return found


def record(steps, seed):
    u = current(steps, seed)
    noise = 0.005 * np.random.default_rng(seed + 100).normal(size=steps)
    return pd.Series(field(u) + noise, name="field"), pd.DataFrame({"current": u})


# %%
# Fit to one record, simulate another
# -----------------------------------
# ``mode="simulation"`` lets the network run freely: after the first 64 rows it reads the current
# alone. ``y`` gives those rows of the other record; the forecaster itself stays as it is.

field_seen, current_seen = record(6000, seed=0)
simulator = TransformerLSTMForecaster(
    mode="simulation",
    prediction_length=128,
    d_model=16,
    max_epochs=15,
    batch_size=32,
    lr=0.01,
    random_state=0,
)
simulator.fit(field_seen, X=current_seen)

truth, applied = record(2000, seed=1)
steps = range(1, len(truth) - 63)
simulated = simulator.predict(steps, applied, y=truth[:64])
band = simulator.predict_interval(steps, applied, coverage=0.9, y=truth[:64])["field"][0.9]

error = simulated - truth[64:]
inside = (band["lower"] <= truth[64:]) & (truth[64:] <= band["upper"])
print(f"deviation of the field {truth.std():.3f}")
print(f"error of the simulation {np.sqrt((error**2).mean()):.3f}, of which noise 0.005")
print(f"the 90 % interval holds {inside.mean():.0%}")

# %%
# The loop
# --------
# The input on one axis, the output on the other: where lines going up and down lie apart, the
# field depends on more than the current. On the right, the error comes in bursts, where the current
# turns as it seldom did in training, and does not grow with time.

figure, (loop, time) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=[1, 1.4])
rows = slice(900, 1400)
loop.plot(applied["current"][rows], truth[rows], color="black", lw=1, label="truth")
loop.plot(applied["current"][rows], simulated.loc[900:1399], color="#D55E00", lw=1.5, ls="--",
          label="simulation")  # fmt: skip
loop.set(xlabel="current", ylabel="field", title="500 steps, far from the start")
loop.legend(frameon=False)
time.axhspan(-0.01, 0.01, color="#999999", alpha=0.3, lw=0, label="two deviations of the noise")
time.plot(error, color="#0072B2", lw=0.8, label="simulation minus truth")
time.set(xlabel="step", ylabel="error", title="The error over all 1,936 steps")
time.legend(frameon=False)
figure.tight_layout()
