"""The linear simulation, which a network that simulates is weighed against."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.data.sampling import WindowDataset
from sktime_tlstm.linear import learn_linear

CONTEXT, STEPS = 8, 10
#: Responses of two outputs to two inputs, from the current row back.
RESPONSES = np.array(
    [[[0.5, 0.3, -0.2, 0.1], [0.0, 1.0, 0.0, 0.0]], [[-1.0, 0.0, 0.4, 0.0], [2, 1, 0, 0]]]
)


def record(rows, seed=0, noise=0.0):
    """Return two outputs that are weighted sums of the last four rows of two inputs."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(rows, 2))
    before = np.concatenate([np.repeat(u[:1], 3, axis=0), u])
    y = 5.0 + sum(before[3 - lag : 3 - lag + rows] @ RESPONSES[:, :, lag].T for lag in range(4))
    y += noise * rng.normal(size=y.shape)
    return pd.DataFrame(y, columns=["p", "q"]), pd.DataFrame(u, columns=["a", "b"])


def simulator(**settings):
    settings = {"d_model": 4, "num_heads": 2, "max_epochs": 1, "random_state": 0} | settings
    return TransformerLSTMForecaster(
        CONTEXT, prediction_length=STEPS, mode="simulation", num_transformer_blocks=0, **settings
    )


def windows(forecaster, rows=None, high=None):
    model, history = forecaster._fitted.model, forecaster._fitted.history
    low = np.full(len(history.lengths), 1)
    high = history.lengths - STEPS + 1 if high is None else np.array([high])
    return WindowDataset(history.store, model.spec, low, high, rows=rows)


@pytest.fixture(scope="module")
def fitted():
    y, X = record(400, noise=0.01)
    return simulator(max_windows_per_epoch=8).fit(y, X=X)


def test_responses_of_two_outputs_to_two_inputs_are_found(fitted):
    encoder, history = fitted._fitted.model.encoder, fitted._fitted.history
    numeric = encoder._covariates.numeric.values()
    linear = learn_linear(windows(fitted))
    in_scale = np.array([scaling.scale for scaling in numeric])
    weights = linear.weights.numpy() * history.scale[0][:, None, None] / in_scale[:, None]
    found = weights[..., ::-1][..., :4]  # the current row first
    np.testing.assert_allclose(found, RESPONSES, atol=0.01)
    assert np.abs(weights[..., :-4]).max() < 0.01
    deviation = linear.deviation[:, 0].numpy() * history.scale[0]
    np.testing.assert_allclose(deviation, 0.01, rtol=0.2)


def test_the_default_leans_on_it_where_the_network_has_learnt_little(fitted):
    y, X = record(300, seed=1)
    simulated = fitted.predict(range(1, 301 - CONTEXT), X, y=y[:CONTEXT])
    error = (simulated - y[CONTEXT:]).abs().to_numpy()
    assert error[3:].mean() < 0.05 * y.to_numpy().std()
    alone = simulator(max_windows_per_epoch=8, calibration="none")
    y_train, X_train = record(400, noise=0.01)
    alone.fit(y_train, X=X_train)
    worse = (alone.predict(range(1, 301 - CONTEXT), X, y=y[:CONTEXT]) - y[CONTEXT:]).abs()
    assert worse.to_numpy().mean() > 10 * error.mean()


def test_steps_are_the_same_however_many_are_asked_and_whatever_lies_before_the_context(fitted):
    linear, store = fitted._fitted.model.calibration.simple, fitted._fitted.history.store
    spec, place = fitted._fitted.model.spec, (torch.tensor([0]), torch.tensor([100]))
    short, long = (linear(store, replace(spec, horizon=steps), *place) for steps in (5, 200))
    torch.testing.assert_close(short, long[:, :, :5])
    values = store.values.clone()
    values[: 100 - CONTEXT] = 9.0
    changed = linear(replace(store, values=values), spec, *place)
    torch.testing.assert_close(changed, long[:, :, :STEPS])


def test_rows_that_are_held_out_or_have_no_weight_are_not_learnt():
    y, X = record(400, noise=0.01)
    spoilt = y.copy()
    spoilt[200:300] = np.random.default_rng(3).normal(size=(100, 2)) * 50
    kept = pd.Series(1.0, X.index).where((X.index < 200) | (X.index >= 300), 0.0)
    weighted = simulator(max_windows_per_epoch=8, weight_column="trust")
    weighted.fit(spoilt, X=X.assign(trust=kept))
    plain = simulator(max_windows_per_epoch=8).fit(spoilt, X=X)
    free = torch.from_numpy(kept.to_numpy() > 0)
    size = plain._fitted.history.scale[0]
    for linear in (
        learn_linear(windows(weighted)),
        learn_linear(windows(plain, rows=free[: len(plain._fitted.history.store.values)])),
        learn_linear(windows(plain, high=200 - STEPS)),  # the first 200 rows
    ):
        assert (linear.deviation[:, 0].numpy() * size).max() < 0.02
    assert (learn_linear(windows(plain)).deviation[:, 0].numpy() * size).min() > 1


def test_without_a_numeric_input_it_is_the_mean():
    y, X = record(60)
    valve = pd.DataFrame({"valve": np.where(X["a"] > 0, "open", "shut")})
    forecaster = simulator(max_windows_per_epoch=8).fit(y, X=valve)
    linear, history = forecaster._fitted.model.calibration.simple, forecaster._fitted.history
    spec = forecaster._fitted.model.spec
    bands = linear(history.store, spec, torch.tensor([0]), torch.tensor([20]))
    level = history.loc[0] + history.scale[0] * bands[0, 0, 0].numpy()
    np.testing.assert_allclose(level, y.mean(), atol=0.3 * y.std().max())
    assert bool((bands[1] < bands[2]).all())
