"""``validation_series``: whole series that are validated, and that no training sees."""

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback

from tests.setups import tiny

FH = [1, 2, 3]
KEYS = ("a", "b", "c", "d")
ROWS = 60


def panel(keys=KEYS, rows=ROWS, factor=1.0, named=()):
    """Return y and X of a panel; those of the series named are other ones."""
    parts, inputs = {}, {}
    days = pd.date_range("2022-01-03", periods=rows, freq="D")
    for number, key in enumerate(keys):
        rng = np.random.default_rng(number)
        own = factor if key in named else 1.0
        u = own * rng.normal(size=rows)
        X = pd.DataFrame({"u": u, "kind": np.where(u > 0, "up", "down")}, days)
        if own != 1.0:
            X["kind"] = "other"
        inputs[key], parts[key] = X, pd.DataFrame({"y": own * np.sin(u + np.arange(rows))}, days)
    names = ["key", "day"] if isinstance(keys[0], str) else ["region", "key", "day"]
    return pd.concat(parts, names=names), pd.concat(inputs, names=names)


def weights(forecaster):
    members = getattr(forecaster, "members_", None) or forecaster.pretrained_model_.members
    return [part.clone() for net in members for part in net.module_.state_dict().values()]


def same(left, right):
    return all(torch.equal(*pair) for pair in zip(left, right, strict=True))


class Seen(Callback):
    """Notes the series that are trained on, and those that are validated."""

    trained: list
    validated: list

    def on_train_begin(self, net, X=None, **kwargs):
        dataset, validation = X
        Seen.trained.append(set(dataset.place(np.arange(len(dataset)))[0].tolist()))
        if validation is not None:
            found = {int(validation.dataset.place(k)[0]) for k in validation.indices}
            Seen.validated.append(found)


@pytest.fixture(autouse=True)
def seen():
    Seen.trained, Seen.validated = [], []


SETTINGS = {"validation_series": ["b", "d"], "context_length": 6}


def test_named_series_are_validated_and_all_others_trained_on_once():
    y, X = panel()
    forecaster = tiny(callbacks=[Seen], max_epochs=3, **SETTINGS).fit(y, X=X, fh=FH)
    assert (Seen.trained, Seen.validated) == ([{0, 2}], [{1, 3}])
    assert forecaster.history_["stage"].unique().tolist() == ["fit"]
    assert len(forecaster.history_) == 3  # no part of the epochs is kept for a second training
    assert forecaster.history_[["valid_loss", "valid_mae"]].notna().all(axis=None)


@pytest.mark.parametrize(
    "settings", [{}, {"series_embedding": True}, {"mode": "simulation"}], ids=str
)
def test_nothing_that_is_learnt_by_training_depends_on_them(settings):
    fitted = [
        tiny(**SETTINGS, **settings).fit(*(panel(factor=factor, named="bd")), fh=FH)
        for factor in (1.0, 50.0)
    ]
    assert same(*map(weights, fitted))
    one, other = (own._fitted.model for own in fitted)
    assert one.encoder.scalings == other.encoder.scalings
    assert list(one.encoder.categories["kind"]) == list(other.encoder.categories["kind"])
    if one.spec.num_identities:
        identity = fitted[0]._fitted.history.store.traits.identity
        assert identity.tolist() == [1, 0, 2, 0]  # those of others are never learnt
        assert one.spec.num_identities == 2
    if one.spec.simulation:
        assert (fitted[0]._fitted.history.scale == fitted[1]._fitted.history.scale).all()
    else:
        simple, again = one.calibration.simple, other.calibration.simple
        assert torch.equal(simple.deviation, again.deviation)
        assert torch.equal(simple.change, again.change)
        assert all(torch.equal(simple.maps[n], again.maps[n]) for n in simple.maps)


def test_training_is_that_of_a_panel_without_them():
    y, X = panel()
    settings = {"context_length": 6, "max_windows_per_epoch": None, "batch_size": 64}
    whole = tiny(validation_series=["b", "d"], **settings).fit(y, X=X, fh=FH)
    alone = tiny(calibration="none", **settings).fit(y.loc[["a", "c"]], X=X.loc[["a", "c"]], fh=FH)
    assert same(weights(whole), weights(alone))
    np.testing.assert_array_equal(
        whole.net_.history[-1, "train_loss"], alone.net_.history[-1, "train_loss"]
    )


def test_their_loss_stops_the_training_and_their_errors_set_the_intervals():
    y, X = panel()
    settings = {**SETTINGS, "max_epochs": 30, "lr": 0.3, "lr_schedule": None}
    stopped = tiny(patience=1, **settings).fit(y, X=X, fh=FH)
    losses = stopped.history_["valid_loss"].to_numpy()
    assert 2 <= len(losses) < 30 and losses[-1] >= losses[:-1].min()
    rng = np.random.default_rng(9)
    noisy = y.copy()
    noisy.loc["b", "y"] = rng.normal(size=ROWS)  # nothing tells it, and no other series is so
    noisy.loc["d", "y"] = rng.normal(size=ROWS)
    calm = y.copy()
    calm["y"] = np.sin(np.tile(np.arange(ROWS), 4))
    noisy.loc[["a", "c"], "y"] = calm.loc[["a", "c"], "y"]
    settings = {**SETTINGS, "calibration": "conformal", "max_epochs": 3}
    widths = []
    for data in (calm, noisy):
        forecaster = tiny(**settings).fit(data, fh=FH)
        assert forecaster.predict().loc["b"].notna().all(axis=None)
        interval = forecaster.predict_interval(coverage=0.8).loc["a"].to_numpy()
        widths.append((interval[:, 1] - interval[:, 0]).mean())
    assert widths[1] > 1.3 * widths[0]


def test_they_are_forecast_as_any_other_series():
    y, X = panel(rows=ROWS + 3)
    days = y.index.get_level_values("day").unique()
    past = y.index.get_level_values("day") < days[ROWS]
    forecaster = tiny(**SETTINGS).fit(y[past], X=X[past], fh=FH)
    forecast = forecaster.predict(X=X[~past])
    assert forecast.index.equals(y[~past].index)
    one = forecaster.predict(FH, X.loc[["b"]], y=y[past].loc[["b"]])
    np.testing.assert_allclose(one, forecast.loc[["b"]], rtol=1e-4)


def test_updates_and_backtests_do_not_train_on_them():
    y, X = panel(rows=ROWS + 8)
    days = y.index.get_level_values("day").unique()
    past = y.index.get_level_values("day") < days[ROWS]
    forecaster = tiny(callbacks=[Seen], **SETTINGS).fit(y[past], X=X[past], fh=FH)
    before = weights(forecaster)
    named = (~past) & y.index.get_level_values("key").isin(["b", "d"])
    forecaster.update(y[named], X=X[named], update_params=True)
    assert same(before, weights(forecaster)) and len(Seen.trained) == 1
    others = ~past & ~named
    forecaster.update(y[others], X=X[others], update_params=True)
    assert not same(before, weights(forecaster))
    assert Seen.trained[1:] == [{0, 2}]


def test_pretraining_and_what_is_trained_on_later():
    y, X = panel()
    forecaster = tiny(callbacks=[Seen], **SETTINGS).pretrain(y, X=X, fh=FH)
    assert (Seen.trained, Seen.validated) == ([{0, 2}], [{1, 3}])
    forecaster.fit(y, X=X)  # the same series: still held out
    assert Seen.trained[1:] == [{0, 2}]
    other_y, other_X = panel(("e", "f"))
    forecaster.fit(other_y, X=other_X)  # series that were not named
    assert Seen.trained[2:] == [{0, 1}]
    forecaster.fit(y.loc["b"], X=X.loc["b"])  # a series without a key is none of those named
    assert Seen.trained[3:] == [{0}]
    with pytest.raises(ValueError, match=r"names all series of y, expected some others to train"):
        forecaster.fit(y.loc[["b"]], X=X.loc[["b"]])
    forecaster.finetune_epochs = 0
    forecaster.fit(y.loc[["b"]], X=X.loc[["b"]])
    assert len(Seen.trained) == 4


def test_keys_of_a_hierarchy_are_whole():
    keys = (("north", "a"), ("north", "b"), ("south", "a"))
    y, X = panel(keys)
    named = [("north", "b"), ["south", "a"]]
    forecaster = tiny(validation_series=named[:1], callbacks=[Seen], context_length=6)
    forecaster.fit(y, X=X, fh=FH)
    assert (Seen.trained, Seen.validated) == ([{0, 2}], [{1}])
    for wrong in ("north", ("north",), ("south", "b")):
        with pytest.raises(
            ValueError, match=r"Got validation_series with .*keys such as \('north'"
        ):
            tiny(validation_series=[wrong]).fit(y, X=X, fh=FH)
    with pytest.raises(ValueError, match="keys of series, at least one, each once"):
        tiny(validation_series=named).fit(y, X=X, fh=FH)  # a list is no key


def test_members_and_numbers_as_keys_and_series_shorter_than_the_horizon():
    y, X = panel()
    y, X = (part.rename({key: n for n, key in enumerate(KEYS)}, level="key") for part in (y, X))
    short = y.loc[[3]].iloc[:2]
    y = pd.concat([y.loc[[0, 1, 2]], short])
    settings = {"num_members": 2, "callbacks": [Seen], "context_length": 6}
    forecaster = tiny(validation_series=(np.int64(1), 3), **settings).fit(y, fh=FH)
    assert (Seen.trained, Seen.validated) == ([{0, 2}] * 2, [{1, 3}] * 2)
    assert forecaster.history_["valid_loss"].notna().all()


def test_records_of_a_simulation():
    y, X = panel()
    settings = {"mode": "simulation", "prediction_length": 9, **SETTINGS}
    forecaster = tiny(callbacks=[Seen], **settings).fit(y, X=X)
    assert (Seen.trained, Seen.validated) == ([{0, 2}], [{1, 3}])
    calibration = forecaster._fitted.model.calibration
    assert np.isfinite(calibration.scores).any()
    past = y.loc[["b"]].iloc[:6]
    steps = range(1, ROWS - 5)
    assert forecaster.predict(steps, X.loc[["b"]], y=past).notna().all(axis=None)


def test_files_keep_what_was_held_out():
    y, X = panel()
    forecaster = tiny(**SETTINGS).fit(y, X=X, fh=FH)
    cls, content = forecaster.save(serialization_format="safetensors")
    loaded = cls.load_from_serial(content)
    assert loaded.validation_series == ["b", "d"]
    before = weights(loaded)
    later = panel(rows=ROWS + 5)
    loaded.update(later[0].loc[["b"]], X=later[1].loc[["b"]], update_params=True)
    assert same(before, weights(loaded))


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (["b", "x"], "Got validation_series with 'x', which is no key of y, .*such as 'a'"),
        ([("b",)], r"Got validation_series with \('b',\), which is no key of y"),
        (list(KEYS), "names all series of y, expected some others to train on. Leave some out"),
    ],
)
def test_names_that_cannot_be_held_out_are_refused_before_training(named, words):
    y, X = panel()
    with pytest.raises(ValueError, match=words):
        tiny(validation_series=named, callbacks=[Seen]).fit(y, X=X, fh=FH)
    with pytest.raises(ValueError, match=words):
        tiny(validation_series=named, callbacks=[Seen]).pretrain(y, X=X, fh=FH)
    assert not Seen.trained


def test_a_single_series_and_a_fraction_besides_are_refused():
    y, X = panel()
    with pytest.raises(ValueError, match=r"with a single series.*Pass validation_fraction=0.1"):
        tiny(validation_series=["a"]).fit(y.loc["a"], X=X.loc["a"], fh=FH)
    with pytest.raises(ValueError, match=r"Got validation_fraction=0.2 with validation_series=\["):
        tiny(validation_series=["a"], validation_fraction=0.2).fit(y, X=X, fh=FH)
