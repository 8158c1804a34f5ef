"""Networks that were trained in TransformerTF, used by a forecaster as they are or trained on."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import pad

from sktime_tlstm import SkorchForecaster
from sktime_tlstm.nn import AttentionLSTM, FromTransformerTF, TransformerLSTM
from sktime_tlstm.notices import ForecastWarning
from tests.transformertf import (
    RUNS,
    lightning,
    random_network,
    reference_run,
    reference_weights,
)

CONTEXT, HORIZON, ROWS = 12, 5, 90
AS_IS = {
    "context_length": CONTEXT,
    "prediction_length": HORIZON,
    "scaler": None,
    "window_norm": None,
    "time_features": (),
    "target_lags": (),
    "loss": "mse",
    "calibration": "none",
    "max_epochs": 0,
    "random_state": 0,
}


def record(seed, rows=ROWS):
    """Return a record of a field, and of the current and its ramp, with spikes."""
    rng = np.random.default_rng(seed)
    current = np.sin(np.arange(rows) / 7) + 0.1 * rng.normal(size=rows)
    current[[5, 12, 41, 53]] = [3.0, -3.0, 2.9, -2.9]  # what clipping would take away
    frame = pd.DataFrame({"current": current, "ramp": np.gradient(current)})
    return pd.Series(np.cumsum(current) / 10, name="field"), frame


Y, X = record(0)


def forecaster_of(network, columns=X.columns, **parameters):
    past = [column for column in columns if column == "temperature"] or None
    own = {"state_dict": lightning(network), "causal_attention": network.causal_attention}
    return SkorchForecaster(
        FromTransformerTF, own, **{**AS_IS, "past_covariates": past, **parameters}
    )


@torch.no_grad()
def rolled(network, y, X, steps, median=None):
    """Return forecasts behind y, window after window, each fed with the outputs before it."""
    known = network.widths[1]
    covariates = torch.tensor(X.to_numpy(), dtype=torch.float32)
    field = torch.tensor(y.to_numpy(), dtype=torch.float32)
    end = len(field) + steps
    while len(field) < end:
        rows = slice(len(field) - CONTEXT, len(field))
        past = torch.cat([covariates[rows], field[rows, None]], dim=1)  # the target is the last
        future = covariates[len(field) : len(field) + HORIZON, :known]
        future = pad(future, (0, 0, 0, HORIZON - len(future)))
        output = network(past[None], future[None])[0]
        point = output[:, 0] if median is None else output.sort(dim=-1).values[:, median]
        field = torch.cat([field, point])
    return field[len(y) : end].numpy()


NETWORKS = {
    "transformer": {},
    "of two layers": {"num_layers": 2, "num_transformer_blocks": 1, "share_lstm_weights": True},
    "that sees all": {"causal_attention": False},
    "trainable": {"trainable_add": True, "num_transformer_blocks": 3},
    "attention": {"cls": AttentionLSTM},
    "ungated attention": {"cls": AttentionLSTM, "use_gating": False, "d_encoder": 6},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_long_record_is_forecast_as_transformertf_rolls(name):
    network = random_network(**NETWORKS[name])
    forecaster = forecaster_of(network).fit(Y[:30], X=X[:30])
    steps = 7 * HORIZON + (3 if network.causal_attention else 0)  # else all of a window counts
    expected = rolled(network, Y[:30], X[: 30 + steps], steps)
    assert np.ptp(expected) > 0.05
    future = X[30 : 30 + steps]
    got = forecaster.predict(range(1, steps + 1), future)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    y, other = record(1)
    got = forecaster.predict(range(1, steps + 1), other[: 40 + steps], y=y[:40])
    expected = rolled(network, y[:40], other[: 40 + steps], steps)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_medians_are_what_is_fed_back():
    quantiles = (0.1, 0.5, 0.9)
    network = random_network(outputs=3)
    forecaster = forecaster_of(network, loss="quantile", quantiles=quantiles)
    forecaster.fit(Y[:30], X=X[:30])
    got = forecaster.predict(range(1, 21), X[30:50])
    np.testing.assert_allclose(got, rolled(network, Y[:30], X[:50], 20, 1), rtol=0, atol=1e-5)
    levels = forecaster.predict_quantiles(range(1, 6), X[30:35], alpha=list(quantiles))
    assert (np.diff(levels, axis=1) >= 0).all()


def test_past_covariates_come_behind_the_known_ones():
    network = random_network(widths=(4, 2))
    frame = X.assign(temperature=np.cos(np.arange(ROWS) / 9))
    forecaster = forecaster_of(network, frame.columns).fit(Y[:30], X=frame[:30])
    got = forecaster.predict(range(1, HORIZON + 1), X[30 : 30 + HORIZON])
    expected = rolled(network, Y[:30], frame[:35], HORIZON)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_reference_runs_are_reproduced_on_the_channels_of_a_forecaster(path):
    _, arguments, weights, (past, future, *lengths), stored = reference_run(path)
    causal = arguments.get("causal_attention", True)
    outputs = arguments.get("output_dim", 1)
    network = FromTransformerTF(6, 7, outputs, state_dict=weights, causal_attention=causal).eval()
    # target, two covariates, three flags; two covariates and flags, step, loc, log scale
    noise = torch.randn(*past.shape[:2], 3), torch.randn(*future.shape[:2], 5)
    inputs = (
        torch.cat([past[..., 2:], past[..., :2], noise[0]], -1),
        torch.cat([future, noise[1]], -1),
    )
    with torch.no_grad():
        output = network(*inputs, *lengths)
    for row, length in enumerate(stored["decoder_lengths"]):
        expected = torch.from_numpy(stored["output"][row, :length])
        torch.testing.assert_close(output[row, :length], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cls", [TransformerLSTM, AttentionLSTM])
def test_prefixes_are_stripped_and_other_parts_left_out(cls):
    network, bare = random_network(cls), reference_weights(random_network(cls))
    checkpoint = lightning(network)
    compiled = {f"model._orig_mod.{name}": part for name, part in bare.items()}
    for given in (bare, checkpoint, checkpoint["state_dict"], compiled):
        other = cls(3, 2, d_model=8, num_heads=2)
        other.load_transformertf_state_dict(given)
        pairs = zip(other.parameters(), network.parameters(), strict=True)
        assert all(torch.equal(one, two) for one, two in pairs)
    lacking = {name: part for name, part in compiled.items() if "output_head" not in name}
    with pytest.raises(ValueError, match=r"lacks 'output_head.bias'"):
        other.load_transformertf_state_dict(lacking)


def weights_of(forecaster):
    return [part.clone() for part in forecaster.net_.module_.parameters()]


def test_nothing_is_trained_without_epochs_and_updates_do():
    network = random_network()
    forecaster = forecaster_of(network, num_members=2).fit(Y[:60], X=X[:60])
    given = list(network.parameters())
    for net in forecaster.members_:
        assert all(map(torch.equal, net.module_.parameters(), given))
    assert len(forecaster.history_) == 0
    assert "0 epochs" in forecaster.summary()
    forecaster.update(Y[60:70], X=X[60:70], update_params=False)
    assert all(map(torch.equal, weights_of(forecaster), given))
    forecaster.update(Y[70:], X=X[70:])
    assert not all(map(torch.equal, weights_of(forecaster), given))


def test_training_begins_with_the_weights():
    network = random_network()
    given = list(network.parameters())
    for lr, near in ((1e-7, True), (1e-2, False)):
        forecaster = forecaster_of(network, max_epochs=3, lr=lr, weight_decay=0.0)
        forecaster.fit(Y, X=X)
        moved = max(
            float((one - two).detach().abs().max())
            for one, two in zip(weights_of(forecaster), given, strict=True)
        )
        assert moved > 0 and (moved < 1e-4) == near
        assert len(forecaster.history_) > 2
    start, end = forecaster.history_["train_mae"].iloc[[0, -1]]
    assert end < start


def test_a_panel_is_pretrained_on_and_a_record_tuned():
    network = random_network()
    panel = pd.concat({"a": Y, "b": record(2)[0]}, names=["record", "row"]).to_frame()
    frames = pd.concat({"a": X, "b": record(2)[1]}, names=["record", "row"])
    forecaster = forecaster_of(network, finetune_epochs=0).pretrain(panel, X=frames)
    forecaster.fit(Y[:30], X=X[:30])
    got = forecaster.predict(range(1, 11), X[30:40])
    expected = rolled(network, Y[:30], X[:40], 10)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_clones_and_files_hold_the_weights():
    network = random_network()
    forecaster = forecaster_of(network).fit(Y[:30], X=X[:30])
    expected = forecaster.predict(range(1, 21), X[30:50])
    again = forecaster.clone().fit(Y[:30], X=X[:30]).predict(range(1, 21), X[30:50])
    pd.testing.assert_series_equal(again, expected)
    weights = {"state_dict": lightning(network)["state_dict"]}
    forecaster = forecaster.clone().set_params(module_params=weights).fit(Y[:30], X=X[:30])
    cls, content = forecaster.save(serialization_format="safetensors")
    loaded = cls.load_from_serial(content)
    pd.testing.assert_series_equal(loaded.predict(range(1, 21), X[30:50]), expected)
    loaded.update(Y[30:40], X=X[30:40])
    forecaster.update(Y[30:40], X=X[30:40])
    assert all(map(torch.equal, weights_of(loaded), weights_of(forecaster)))


def test_where_it_looks_is_shown():
    forecaster = forecaster_of(random_network()).fit(Y[:40], X=X[:40])
    weights = forecaster.attention_weights([1, 3], X[40:45])
    np.testing.assert_allclose(weights.loc[3].sum(), 1.0, rtol=1e-5)


WIDTHS = r"6 and 7: the weights read 2 known and 0 past covariates and 1 targets. Pass X with these"
REFUSED = {
    "lags": ({"target_lags": (2,)}, X, WIDTHS),
    "too few columns": ({}, X[["ramp"]], WIDTHS),
    "too many columns": ({}, X.assign(more=X["ramp"] ** 2), WIDTHS),
    "a past column": ({"past_covariates": ["ramp"]}, X, WIDTHS),
    "identities": ({"series_embedding": True}, X, WIDTHS),
    "another loss": ({"loss": "quantile"}, X, r"1 outputs, expected 9 for 1 targets.*Pass the l"),
    "a simulation": ({"mode": "simulation"}, X, r"no parameter attention_window"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_weights_do_not_fit_is_refused(name):
    changes, covariates, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        forecaster_of(random_network(), **changes).fit(Y, X=covariates)


def test_other_weights_are_refused():
    for odd in ({}, {"model.weight": torch.ones(1)}, TransformerLSTM(3, 2).state_dict()):
        with pytest.raises(ValueError, match=r"Got weights without \['.*of one of these"):
            FromTransformerTF(6, 7, state_dict=odd)
    partly = reference_weights(random_network())
    del partly["encoder_grn.norm.bias"]
    with pytest.raises(ValueError, match=r"lacks 'encoder_grn.norm.bias'"):
        FromTransformerTF(6, 7, state_dict=partly)


def test_a_network_of_random_weights_that_is_not_trained_is_warned_about():
    y = pd.Series(np.arange(40.0))
    forecaster = SkorchForecaster(AttentionLSTM, {"d_model": 4, "num_heads": 2}, max_epochs=0)
    with pytest.warns(ForecastWarning, match="max_epochs=0 with a network of random weights"):
        forecaster.fit(y, fh=[1, 2])
