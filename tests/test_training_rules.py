"""What the docstring promises of a training: its learning rates, its batches, its passes."""

import numpy as np
import pandas as pd
import pytest
from skorch.callbacks import Callback

from sktime_tlstm import TransformerLSTMForecaster

TINY = {
    "d_model": 4,
    "num_heads": 2,
    "num_transformer_blocks": 0,
    "context_length": 5,
    "max_epochs": 1,
    "num_samples": 4,
    "random_state": 0,
}


class Watch(Callback):
    """Notes the optimizer's learning rate and the size of each training batch, for all nets."""

    rates, sizes = [], []

    def on_batch_end(self, net, batch, training, **kwargs):
        if training:
            Watch.rates.append(net.optimizer_.param_groups[0]["lr"])
            Watch.sizes.append(len(batch[0]["past"]))


@pytest.fixture(autouse=True)
def fresh_watch():
    Watch.rates, Watch.sizes = [], []


def series(rows, start="2020-01-06"):
    return pd.Series(np.sin(np.arange(rows) / 3), pd.date_range(start, periods=rows, freq="D"))


def make(**parameters):
    return TransformerLSTMForecaster(**{**TINY, "callbacks": [Watch()], **parameters})


@pytest.mark.parametrize("lr", [0.02, 0.004])
@pytest.mark.parametrize("schedule", ["onecycle", None])
def test_fine_tuning_and_updates_train_at_a_fixed_share_of_lr(lr, schedule):
    settings = {"lr": lr, "lr_schedule": schedule, "prediction_length": 2, "finetune_epochs": 2}
    y = series(40)
    forecaster = make(**settings, max_windows_per_epoch=24)
    forecaster.pretrain(pd.concat({"a": y.to_frame("y"), "b": -y.to_frame("y")}))
    assert 0.2 * lr < max(Watch.rates) <= lr
    Watch.rates.clear()
    forecaster.fit(y[:35])
    assert len(Watch.rates) >= 2
    assert Watch.rates == pytest.approx([0.15 * lr] * len(Watch.rates))
    Watch.rates.clear()
    forecaster.update(y[35:])
    assert len(Watch.rates) >= 1
    assert Watch.rates == pytest.approx([0.15 * lr] * len(Watch.rates))


@pytest.mark.parametrize(
    ("rows", "batch_size", "expected"),
    [
        (30, 64, 8),  # never below 8
        (30, 5, 5),  # but as asked for
        (308, 64, 15),  # 300 windows in at least 20 batches
        (2003, 64, 64),  # enough for all
    ],
)
def test_batches_shrink_on_tiny_data_down_to_eight_windows(rows, batch_size, expected):
    make(batch_size=batch_size, prediction_length=3).fit(series(rows))
    assert max(Watch.sizes) == expected
    assert len(Watch.sizes) >= 20


@pytest.mark.parametrize(
    ("rows", "horizon", "windows"),
    [
        (1500, 30, 250),  # five times 1,500 rows, 30 a window
        (1501, 7, 1072),
        (1500, 1, 1495),  # every window once, from the first whole context on
        (600, 200, 160),  # five times would be 15 windows; 20 batches of 8 are drawn
    ],
)
def test_no_row_is_a_target_more_than_five_times_an_epoch_where_20_batches_allow_it(
    rows, horizon, windows
):
    settings = {"batch_size": 8, "max_windows_per_epoch": 10**6, "prediction_length": horizon}
    make(**settings).fit(series(rows))
    assert sum(Watch.sizes) == windows
    assert sum(Watch.sizes) * horizon <= 5 * rows or len(Watch.sizes) == 20


def test_an_epoch_is_bounded():
    make(batch_size=8, max_windows_per_epoch=100, prediction_length=2).fit(series(900))
    assert sum(Watch.sizes) == 100
