"""Files without code: what is loaded is what was saved, and a bad file is refused in words."""

import copy
import datetime
import hashlib
import importlib.metadata
import io
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from skorch.callbacks import EpochScoring
from sktime.base import load
from sktime.datasets import load_airline
from sktime.split import ExpandingWindowSplitter

import sktime_tlstm
from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster, cli, nn
from sktime_tlstm.records import Reader, UnrecordableError, Writer
from sktime_tlstm.time_records import TIME_KINDS
from tests.setups import TRAINING, tiny

SAFE = "safetensors"
HORIZON = range(1, 5)


def panel(num_rows=80, zone="Europe/Paris"):
    """Return targets and covariates of two series: two of y, numbers, kinds and flags of X."""
    draws, times = np.random.default_rng(0), pd.date_range("2024", periods=num_rows, freq="h")
    frames = {}
    for name in ("a", "b"):
        X = pd.DataFrame({"warmth": 2 * np.sin(np.arange(num_rows))}, times.tz_localize(zone))
        X["kind"] = pd.Categorical(draws.choice(["u", "v"], num_rows))
        X["flag"] = draws.integers(0, 2, num_rows)
        X["one"] = 10 + X["warmth"] + draws.normal(size=num_rows)
        X["two"] = 5 * X["one"]
        frames[name] = X
    frame = pd.concat(frames, names=["series", "time"])
    return frame[["one", "two"]], frame[["warmth", "kind", "flag"]]


Y, X = panel()


def rows(frame, begin, end):
    return frame.groupby(level=0, group_keys=False).apply(lambda part: part.iloc[begin:end])


def fitted(forecaster):
    return forecaster.fit(rows(Y, 0, 60), X=rows(X, 0, 60), fh=HORIZON)


def copied(forecaster, **kwargs):
    """Save a forecaster and load it again, by way of memory."""
    cls, content = forecaster.save(serialization_format=SAFE, **kwargs)
    return cls.load_from_serial(content)


def answers(forecaster, at=60):
    """Return all kinds of forecasts from a cutoff."""
    future = rows(X, at, at + 8)
    frames = [
        forecaster.predict(HORIZON, future),
        forecaster.predict_quantiles(HORIZON, future, alpha=[0.1, 0.5, 0.8]),
        forecaster.predict_samples(range(1, 9), future),
    ]
    return [frame.to_numpy() for frame in frames]


def same(left, right):
    return all(np.array_equal(one, other) for one, other in zip(left, right, strict=True))


VARIANTS = {
    "flagship": lambda: tiny(),
    "members": lambda: tiny(num_members=2, dropout=0.1, validation_fraction=0.2),
    "counted by name": lambda: SkorchForecaster(nn.AttentionLSTM, {"d_model": 4}, **TRAINING),
    "fusion": lambda: SkorchForecaster(
        nn.TemporalFusionTransformer, {"d_model": 4, "num_heads": 2}, **TRAINING
    ),
    "transformer": lambda: SkorchForecaster(
        nn.Transformer, {"d_model": 4, "num_heads": 2}, **TRAINING
    ),
    "experts": lambda: tiny(feedforward="moe"),
    "distribution": lambda: tiny(loss="student_t"),
    "head": lambda: tiny(loss=nn.QuantileHead((0.2, 0.5, 0.9))),
    "state of draws": lambda: tiny(random_state=np.random.RandomState(3)),
    "optimizer of torch": lambda: tiny(net_params={"optimizer": torch.optim.RMSprop}),
    "identities": lambda: tiny(series_embedding=True, past_covariates=["warmth"]),
    "simulation": lambda: tiny(mode="simulation"),
    "hidden": lambda: tiny(mode="simulation", hidden_past=["one", "warmth"]),
    "weights": lambda: tiny(weight_column="flag", step_weights=[1, 2, 3, 0]),
    "network alone": lambda: tiny(calibration="none", num_transformer_blocks=0),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_loaded_forecasts_updates_and_learns_bit_for_bit(variant):
    forecaster = fitted(VARIANTS[variant]())
    loaded = copied(forecaster)
    assert type(loaded) is type(forecaster) and loaded.cutoff.equals(forecaster.cutoff)
    assert same(answers(loaded), answers(forecaster))
    for begin, learn in ((60, False), (65, True)):
        for one in (forecaster, loaded):
            one.update(rows(Y, begin, begin + 5), rows(X, begin, begin + 5), update_params=learn)
        assert same(answers(loaded, begin + 5), answers(forecaster, begin + 5))


def test_what_is_loaded_backtests_the_same_and_shows_the_same():
    forecaster = fitted(tiny())
    loaded = copied(forecaster)
    cv = ExpandingWindowSplitter(fh=HORIZON, initial_window=60, step_length=5)
    left, right = (
        one.backtest(Y, X, cv, return_data=True)["y_pred"] for one in (forecaster, loaded)
    )
    assert all(one.equals(other) for one, other in zip(left, right, strict=True))
    assert loaded.history_.equals(forecaster.history_)
    assert loaded.summary() == forecaster.summary()
    assert vars(loaded).keys() == vars(forecaster).keys()
    assert loaded.get_params().keys() == forecaster.get_params().keys()


def test_a_pretrained_forecaster_is_fine_tuned_the_same():
    forecaster = tiny(finetune_epochs=1).pretrain(rows(Y, 0, 60), X=rows(X, 0, 60), fh=HORIZON)
    loaded = copied(forecaster)
    assert loaded.state == "pretrained"
    assert same(answers(fitted(loaded)), answers(fitted(forecaster)))
    again = copied(forecaster)  # pretrained and fitted
    assert same(answers(again), answers(forecaster))
    with pytest.raises(ValueError, match="pretrained with 4"):
        again.d_model = 8
        again.fit(rows(Y, 0, 60), X=rows(X, 0, 60), fh=HORIZON)


def test_a_new_series_goes_on_learning_its_scale_after_loading():
    forecaster = tiny().fit(rows(Y, 0, 60), fh=HORIZON)
    new = pd.concat({"c": 30 * Y.loc["a"]}, names=Y.index.names)
    forecaster.update(rows(new, 0, 6), update_params=False)
    loaded = copied(forecaster)
    assert loaded._fitted.history.young.keys() == forecaster._fitted.history.young.keys() != set()
    for one in (forecaster, loaded):
        one.update(rows(new, 6, 9), update_params=False)
    pd.testing.assert_frame_equal(loaded.predict(), forecaster.predict(), check_exact=True)


def test_a_forecaster_before_fit_is_saved_too():
    loaded = copied(tiny(context_length=7, quantiles=(0.1, 0.9), target_lags=[1, 2]))
    assert (
        loaded.get_params()
        == tiny(context_length=7, quantiles=(0.1, 0.9), target_lags=[1, 2]).get_params()
    )
    assert same(
        answers(fitted(loaded)),
        answers(fitted(tiny(context_length=7, quantiles=(0.1, 0.9), target_lags=[1, 2]))),
    )


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(5, 45),
        pd.period_range("2020-01", periods=40, freq="M", name="month"),
        pd.date_range("2024-01-01", periods=40, freq="B"),
        pd.date_range("2024-01-31", periods=40, freq="ME"),
        pd.date_range("2024-03-20", periods=40, freq="D", tz="America/New_York"),
    ],
    ids=lambda index: f"{type(index).__name__} {getattr(index, 'freqstr', '')}",
)
def test_every_kind_of_time_index_is_kept(index):
    y = pd.Series(np.arange(40.0) % 7, index, name=("a", 1))
    forecaster = tiny().fit(y[:30], fh=[1, 3])
    loaded = copied(forecaster)
    pd.testing.assert_series_equal(loaded.predict(), forecaster.predict(), check_exact=True)
    for one in (forecaster, loaded):
        one.update(y[30:])
    pd.testing.assert_series_equal(loaded.predict(), forecaster.predict(), check_exact=True)


def test_files_are_loaded_by_us_and_by_sktime_with_or_without_the_ending(tmp_path):
    forecaster = fitted(tiny())
    with forecaster.save(tmp_path / "one", SAFE) as file:
        assert "tensors.safetensors" in file.namelist()
    forecaster.save(str(tmp_path / "two.v1.zip"), SAFE).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "two.v1.zip"]
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.v1.zip").read_bytes()
    for loaded in (
        TransformerLSTMForecaster.load_from_path(tmp_path / "one"),
        SkorchForecaster.load_from_path(str(tmp_path / "one.zip")),
        load(str(tmp_path / "one")),
        load(tmp_path / "two.v1.zip"),
        load(forecaster.save(serialization_format=SAFE)),
    ):
        assert type(loaded) is TransformerLSTMForecaster
        assert same(answers(loaded), answers(forecaster))


@pytest.mark.parametrize("kind", ["pickle", "cloudpickle"])
def test_pickles_go_on_working_where_they_are_asked_for(tmp_path, kind):
    forecaster = fitted(tiny())
    forecaster.save(tmp_path / "one", kind).close()
    for loaded in (
        load(tmp_path / "one.zip"),
        SkorchForecaster.load_from_path(tmp_path / "one", serialization_format=kind),
        load(forecaster.save(serialization_format=kind)),
    ):
        assert same(answers(loaded), answers(forecaster))
    with pytest.raises(ValueError, match=r"pickled and could run any code.*format='pickle'"):
        SkorchForecaster.load_from_path(tmp_path / "one")


def test_needed_rows_are_few_and_forecast_and_update_the_same():
    y = pd.Series(np.sin(np.arange(3000) / 4), pd.date_range("2024", periods=3000, freq="h"))
    forecaster = tiny(context_length=24, max_windows_per_epoch=32).fit(y[:2900], fh=range(1, 25))
    whole, few = (len(forecaster.save(None, SAFE, rows)[1]) for rows in ("all", "needed"))
    assert whole - few > 4 * 2500
    loaded = copied(forecaster, rows="needed")
    assert loaded._fitted.seen[0] < 250
    for begin in (2900, 2903, 2930):
        left, right = (one.predict_quantiles(alpha=[0.1, 0.5]) for one in (forecaster, loaded))
        pd.testing.assert_frame_equal(left, right, check_exact=True)
        for one in (forecaster, loaded):
            one.update(y[begin : begin + (3 if begin == 2900 else 27)], update_params=False)
    loaded.update(y[2957:2970], update_params=True)  # trains on the rows that there are
    with pytest.raises(ValueError, match="first"):
        loaded.predict([-1000])


# What no file holds.


class OwnNetwork(torch.nn.Module):
    def __init__(self, num_past_features, num_future_features, output_dim):
        super().__init__()
        self.layer = torch.nn.Linear(num_future_features, output_dim)

    def forward(self, past, future, past_lengths=None):
        return self.layer(future)


class OtherNetwork(OwnNetwork):
    def __init__(self, **widths):
        super().__init__(**widths)
        self.more = torch.nn.Linear(2, 2)


class OwnHead(nn.PointHead):
    def __init__(self):
        super().__init__("mae")


class OwnForecaster(TransformerLSTMForecaster):
    def __init__(self, **parameters):
        super().__init__(**parameters)


def test_what_is_code_is_named_and_passed_again():
    callbacks = [("score", EpochScoring(len_of, name="own"))]
    forecaster = SkorchForecaster(OwnNetwork, loss=OwnHead(), callbacks=callbacks, **TRAINING)
    cls, content = fitted(forecaster).save(serialization_format=SAFE)
    words = (
        r"callbacks, which was .*EpochScoring.*OwnHead.*module, which was .*OwnNetwork.*, module=\."
    )
    with pytest.raises(ValueError, match=words):
        cls.load_from_serial(content)
    own = {"module": OwnNetwork, "loss": OwnHead(), "callbacks": callbacks}
    loaded = cls.load_from_serial(content, **own)
    assert same(answers(loaded), answers(forecaster))
    for one in (loaded, forecaster):
        one.update(rows(Y, 60, 70), rows(X, 60, 70))
    assert same(answers(loaded, 70), answers(forecaster, 70))
    with pytest.raises(ValueError, match=r"differ in \['network.more"):
        cls.load_from_serial(content, **{**own, "module": OtherNetwork})
    with pytest.raises(ValueError, match=r"Got lr beside bytes.*'device'"):
        cls.load_from_serial(content, **own, lr=1.0)


def len_of(net, X, y):
    return 1.0


def test_a_class_of_main_is_passed_again_in_another_process(tmp_path):
    code = """
        import numpy as np, pandas as pd, sys, torch
        from sktime_tlstm import SkorchForecaster
        class Mine(torch.nn.Module):
            def __init__(self, num_past_features, num_future_features, output_dim):
                super().__init__()
                self.layer = torch.nn.Linear(num_future_features, output_dim)
            def forward(self, past, future, past_lengths=None):
                return self.layer(future)
        path, saves = sys.argv[1], sys.argv[2] == "save"
        y = pd.Series(np.arange(40.0) % 7)
        if saves:
            f = SkorchForecaster(Mine, max_epochs=1, random_state=0).fit(y, fh=[1, 2])
            f.save(path, "safetensors").close()
        else:
            f = SkorchForecaster.load_from_path(path, module=Mine)
        print(f.predict().tolist())
    """
    run = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "mine")]
    said = [
        subprocess.run([*run, way], capture_output=True, text=True, check=True).stdout
        for way in ("save", "load")
    ]
    assert said[0] == said[1]


def test_another_class_than_that_of_the_file_is_refused():
    content = SkorchForecaster(nn.AttentionLSTM, {"d_model": 4}, **TRAINING).save(None, SAFE)[1]
    with pytest.raises(TypeError, match=r"of a SkorchForecaster, expected one of \['.*Transformer"):
        TransformerLSTMForecaster.load_from_serial(content)


def test_the_device_may_be_another_one():
    forecaster = fitted(tiny(device="cpu"))
    loaded = TransformerLSTMForecaster.load_from_serial(
        forecaster.save(None, SAFE)[1], device="auto"
    )
    assert loaded.device == "auto"
    assert same(answers(loaded), answers(forecaster))


def test_loading_and_saving_leave_random_states_and_the_forecaster_alone():
    forecaster = fitted(tiny())
    before = copy.deepcopy(vars(forecaster)), torch.get_rng_state(), np.random.get_state()[1]
    copied(forecaster)
    assert torch.equal(torch.get_rng_state(), before[1])
    assert (np.random.get_state()[1] == before[2]).all()
    assert vars(forecaster).keys() == before[0].keys()
    assert forecaster._fitted.history.room.calendar_rows


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"serialization_format": "json"}, "serialization_format='json', expected one of"),
        ({"serialization_format": SAFE, "rows": "some"}, "rows='some'"),
        ({"rows": "needed"}, "and of pickles 'all'"),
    ],
)
def test_saving_otherwise_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        tiny().save(None, **arguments)


def test_paths_that_are_none_are_refused(tmp_path):
    with pytest.raises(TypeError, match="path=3"):
        tiny().save(3, SAFE)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tiny().save(tmp_path / "nowhere" / "one", SAFE)
    with pytest.raises(FileNotFoundError, match=r"where no file is; expected a saved file"):
        SkorchForecaster.load_from_path(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="where a folder is"):
        SkorchForecaster.load_from_path(tmp_path)
    with pytest.raises(ValueError, match="expected one of"):
        SkorchForecaster.load_from_path(__file__, serialization_format="json")


def test_an_attribute_that_is_no_data_is_refused_by_name():
    forecaster = fitted(tiny())
    forecaster.note_ = object()
    with pytest.raises(TypeError, match=r"note_ is <object.*serialization_format='pickle'"):
        forecaster.save(None, SAFE)


# Writing.


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    forecaster = tiny()
    forecaster.save(tmp_path / "one", SAFE).close()
    before = (tmp_path / "one.zip").read_bytes()

    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        fitted(forecaster).save(tmp_path / "one", SAFE)
    assert [path.name for path in tmp_path.iterdir()] == ["one.zip"]
    assert (tmp_path / "one.zip").read_bytes() == before


def test_a_killed_save_leaves_a_whole_file(tmp_path):
    code = """
        import sys
        sys.path.insert(0, sys.argv[2])
        from tests.setups import tiny
        import numpy as np, pandas as pd
        f = tiny().fit(pd.Series(np.arange(40.0) % 7), fh=[1, 2])
        while True:
            f.save(sys.argv[1], "safetensors").close()
            print("saved", flush=True)
    """
    run = [
        sys.executable,
        "-c",
        textwrap.dedent(code),
        str(tmp_path / "one"),
        str(Path(__file__).parents[1]),
    ]
    for pause in (0.0, 0.013, 0.031):
        with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            signal.sigtimedwait([], pause)
            process.kill()
        assert len(SkorchForecaster.load_from_path(tmp_path / "one").predict()) == 2


# Records.

TIMES = [
    pd.date_range("2024", periods=3, freq="h", tz="Europe/Paris"),
    pd.date_range("2024", periods=3, freq="2D", unit="s"),
    pd.DatetimeIndex(["2024-01-01", "2025-01-05"], name=("x", 1)),
    pd.period_range("2024-01", periods=3, freq="2M", name="p"),
    pd.timedelta_range("1h", periods=3),
    pd.RangeIndex(2, 10, 2, name="r"),
    pd.CategoricalIndex(["a", "b", "a"], ordered=True),
    pd.MultiIndex.from_product([["a", "b"], pd.date_range("2024", periods=2)], names=["k", None]),
    pd.Index(["a", "b"]),
    pd.Index([1.5, np.nan]),
    pd.Index(["a", 3, None], dtype=object),
    pd.Index([1, None], dtype="Int64"),
    pd.Index(["a", None], dtype="string"),
    pd.Index([True, False]),
]
SCALARS = [
    None, True, 3, 10**30, 1.5, float("inf"), "ü", (1, ("a",)), {1, 2}, frozenset({"a"}),
    {("a", 1): [2.5], None: {}}, np.float32(1.1), np.int64(-3), np.bool_(True), np.uint8(7),
    np.datetime64("2024-01-01T00", "ns"), np.timedelta64(3, "D"), pd.NaT, pd.NA,
    pd.Period("2024Q1"), pd.Period("2024-01-01", freq="W-WED"), pd.Timestamp("2024", tz="UTC"),
    pd.Timestamp("2024-01-01 05:00:00.000001"), pd.Timedelta("3h"),
    pd.Timestamp("2024-06-01", tz=datetime.timezone(datetime.timedelta(hours=5))),
    pd.offsets.CustomBusinessDay(holidays=["2024-01-01"]), pd.offsets.BusinessHour(),
    pd.DateOffset(months=1, n=2), pd.offsets.Hour(3), pd.offsets.Week(weekday=2),
    pd.offsets.QuarterEnd(startingMonth=2), pd.offsets.FY5253(weekday=1, startingMonth=2),
    datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, 5), datetime.time(3, 4),
    datetime.timedelta(days=3, microseconds=5),
]  # fmt: skip
ARRAYS = [
    np.arange(6, dtype=">i4")[::2],
    np.zeros((2, 0)),
    np.array(3.0, np.float32),
    np.array(["a", None, 3.5], object),
    np.array([["x"], ["yy"]]),
    np.array(["2024-01-01", "NaT"], "M8[ns]"),
    np.array([True, False]),
]


def through_json(value):
    writer = Writer(TIME_KINDS)
    record = json.loads(json.dumps(writer.record(value, "it"), allow_nan=False))
    reader = Reader(TIME_KINDS, load_tensors(save_tensors(writer.tensors)))
    read = reader.value(record)
    assert not reader.unread
    return read


@pytest.mark.parametrize("index", TIMES, ids=repr)
def test_indexes_have_records(index):
    read = through_json(index)
    assert type(read) is type(index) and read.identical(index)
    assert getattr(read, "freq", None) == getattr(index, "freq", None)


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_values_have_records(value):
    read = through_json(value)
    assert type(read) is type(value) and repr(read) == repr(value)


@pytest.mark.parametrize("array", ARRAYS, ids=repr)
def test_arrays_have_records(array):
    read = through_json(array)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_tensors_have_records():
    tensor = torch.randn(3, 4).T
    assert torch.equal(through_json({"a": [tensor]})["a"][0], tensor)
    assert math_is_nan(through_json(float("nan")))


def math_is_nan(value):
    return isinstance(value, float) and value != value


@pytest.mark.parametrize("value", [object(), lambda: 1, {1: object()}, np.zeros(2, complex), open])
def test_what_is_no_data_has_no_record(value):
    with pytest.raises(UnrecordableError, match="it"):
        Writer(TIME_KINDS).record(value, "it")


# Bad files.


@pytest.fixture(scope="module")
def content():
    return tiny(num_members=2).fit(load_airline(), fh=[1, 2, 3]).save(serialization_format=SAFE)[1]


def refused(content, words="Got ", kind=ValueError):
    with pytest.raises(kind, match=words) as caught:
        SkorchForecaster.load_from_serial(content)
    text = str(caught.value)
    assert text.startswith("Got ") and text.endswith((".", ")."))
    return text


def flips(content):
    places = np.linspace(0, len(content) - 1, 40).astype(int).tolist()
    for place in places:
        yield content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]


def test_every_flipped_bit_is_noticed(content, tmp_path):
    assert SkorchForecaster.load_from_serial(content).is_fitted
    for number, damaged in enumerate(flips(content)):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"cut off, damaged or edited|no zip file"):
            SkorchForecaster.load_from_path(path)


def test_every_cut_is_noticed(content):
    for share in np.linspace(0.02, 0.999, 20):
        refused(content[: int(share * len(content))], "cut off, damaged or edited")
    refused(content + b"more", "cut off, damaged or edited")
    refused(content[:-1], "cut off")


def test_files_of_something_else_are_named_so(content, tmp_path):
    path = tmp_path / "else.zip"
    for other, words in (
        (b"", "no zip file"),
        (b"a,b\n1,2\n", "begins with b'a,b"),
        (zipped({"readme.txt": b"hello"}), "a zip file of something else"),
        (zipped({"_obj": pickle.dumps(1), "_metadata": b""}), "pickled"),
    ):
        path.write_bytes(other)
        with pytest.raises(ValueError, match=words):
            SkorchForecaster.load_from_path(path)


def zipped(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def sealed(members, compression=zipfile.ZIP_STORED):
    """Return a zip with the right checksum, as an attacker would write it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members if isinstance(members, list) else members.items():
            file.writestr(name, content)
        file.comment = b"0" * 64
    content = buffer.getvalue()[:-64]
    return content + hashlib.sha256(content).hexdigest().encode()


def members_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def edited(content, change, member="state.json"):
    """Return an archive with one member changed, and the right checksum."""
    members = members_of(content)
    if member == "tensors.safetensors":
        tensors = load_tensors(members[member])
        change(tensors)
        members[member] = save_tensors(tensors)
    else:
        value = json.loads(members[member])
        changed = change(value)
        value = value if changed is None else changed
        members[member] = json.dumps(value).encode()
    return sealed(members)


def twice(members):
    """Return a zip of two members of one name, of which readers take one or the other."""
    content = sealed({**members, "stave.json": b"{}"})[:-64].replace(b"stave.json", b"state.json")
    return content + hashlib.sha256(content).hexdigest().encode()


class Bomb:
    def __reduce__(self):
        return os.system, (f"touch {Path.cwd() / 'exploded'}",)


def test_an_edited_file_with_the_right_checksum_is_otherwise_whole(content):
    assert SkorchForecaster.load_from_serial(edited(content, lambda state: state)).is_fitted


def test_a_file_from_before_weight_decay_was_a_rule_is_whole():
    forecaster = tiny(weight_decay=0.25).fit(load_airline(), fh=[1, 2, 3])

    def without_decay(state):
        for member in state["fitted"]["parts"]["model"]["parts"]["members"]:
            settings = dict(member["items"])["settings"]["items"]
            settings[:] = [[name, value] for name, value in settings if name != "weight_decay"]
            assert len(settings) == 4

    old = edited(forecaster.save(serialization_format=SAFE)[1], without_decay)
    loaded = type(forecaster).load_from_serial(old)
    (net,) = loaded._fitted.model.members
    assert net.get_params()["optimizer__weight_decay"] == 0.25
    pd.testing.assert_series_equal(loaded.predict(), forecaster.predict())


WEIGHT = "fitted.model.members.0.weights.encoder_input.input_layer.weight"


def at(state, *path):
    for name in path:
        state = state[name]
    return state


def set_at(*path, value):
    def change(state):
        at(state, *path[:-1])[path[-1]] = value

    return change


def model_part(name, value):
    return set_at("fitted", "parts", "model", "parts", name, value=value)


def spec_part(name, value):
    return set_at("fitted", "parts", "model", "parts", "spec", "parts", name, value=value)


STATES = {
    "a parameter of another kind": set_at("parameters", "d_model", value="wide"),
    "a parameter out of range": set_at("parameters", "dropout", value=7.0),
    "an absurd width": set_at("parameters", "d_model", value=4_000_000),
    "an absurd number of members": set_at("parameters", "num_members", value=10**9),
    "a parameter more": set_at("parameters", "evil", value=1),
    "a parameter less": lambda state: state["parameters"].__delitem__("lr"),
    "a method as an attribute": set_at("attributes", "predict", value=1),
    "an attribute of all objects": set_at("attributes", "__class__", value=1),
    "an unknown kind": model_part("seed", {"is": "os.system", "parts": {"command": "ls"}}),
    "a class from anywhere": model_part(
        "seed", {"is": "class", "parts": {"room": "os", "name": "system"}}
    ),
    "a function as a class": model_part(
        "seed", {"is": "class", "parts": {"room": "torch.nn", "name": "__builtins__"}}
    ),
    "text as a seed": model_part("seed", "zero"),
    "a text of absurd width": model_part(
        "seed", {"is": "objects", "type": "<U2000000000", "shape": [2], "items": ["a", "b"]}
    ),
    "no spec": model_part("spec", None),
    "an absurd horizon": spec_part("horizon", 10**12),
    "a longer context": spec_part("context_length", -3),
    "more targets": spec_part("num_targets", 3),
    "no model": set_at("fitted", value=[1, 2]),
    "a list of nothing": lambda state: [],
    "an empty state": lambda state: {"parameters": {}},
}


@pytest.mark.parametrize("case", STATES)
def test_edited_states_are_refused(content, case):
    refused(edited(content, STATES[case]), "no forecaster can be built|no save has written")


def tensors_with(name, change):
    def changed(tensors):
        tensors[name] = change(tensors[name])

    return changed


def nan_in(tensor):
    tensor.view(-1)[0] = torch.nan
    return tensor


TENSORS = {
    "NaN weights": tensors_with(WEIGHT, nan_in),
    "weights of another type": tensors_with(WEIGHT, lambda tensor: tensor.double()),
    "weights of another shape": tensors_with(WEIGHT, lambda tensor: tensor[:-1].contiguous()),
    "weights in integers": tensors_with(WEIGHT, lambda tensor: tensor.long()),
    "a tensor more": lambda tensors: tensors.update(more=torch.zeros(3)),
    "a tensor less": lambda tensors: tensors.__delitem__(WEIGHT),
    "rows that are not there": tensors_with(
        "fitted.history.store.start", lambda tensor: tensor + 10_000
    ),
    "fewer rows": tensors_with("fitted.history.store.values", lambda values: values[:5].clone()),
    "NaN rows": tensors_with("fitted.history.store.values", nan_in),
    "a scale of another type": tensors_with("fitted.history.scale", lambda scale: scale.float()),
    "other maps": tensors_with(
        "fitted.model.calibration.simple.maps.84", lambda maps: maps[..., :-1].clone()
    ),
    "NaN maps": tensors_with("fitted.model.calibration.simple.maps.84", nan_in),
    "fewer scores": tensors_with(
        "fitted.model.calibration.scores", lambda scores: scores[:, :-1].clone()
    ),
    "no series": tensors_with("fitted.seen", lambda seen: seen[:0].clone()),
    "more seen than there is": tensors_with("fitted.seen", lambda seen: seen + 9),
}


@pytest.mark.parametrize("case", TENSORS)
def test_edited_tensors_are_refused(content, case):
    refused(edited(content, TENSORS[case], "tensors.safetensors"), "no forecaster can be built")


def header(content, change):
    """Return an archive whose tensors have an edited header."""
    members = members_of(content)
    tensors = members["tensors.safetensors"]
    size = struct.unpack("<Q", tensors[:8])[0]
    names = json.loads(tensors[8 : 8 + size])
    change(names)
    text = json.dumps(names).encode()
    members["tensors.safetensors"] = struct.pack("<Q", len(text)) + text + tensors[8 + size :]
    return sealed(members)


def test_a_tensor_of_absurd_size_is_refused_before_memory_is_taken(content):
    refused(header(content, set_at(WEIGHT, "shape", value=[10**6, 10**7])), "no save has written")
    end = [0, 10**15]
    refused(header(content, set_at(WEIGHT, "data_offsets", value=end)), "no save has written")


def with_member(content, name, value):
    return sealed({**members_of(content), name: value})


def test_hostile_files_run_no_code(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bomb, path = pickle.dumps(Bomb()), tmp_path / "hostile.zip"
    members = members_of(content)
    link = zipfile.ZipInfo("state.json")
    link.external_attr = 0xA1ED << 16  # a symlink
    reordered = {name: members[name] for name in reversed(members)}
    files = {
        "a pickle beside": with_member(content, "_obj", bomb),
        "a pickle as the state": with_member(content, "state.json", bomb),
        "a pickle as the manifest": with_member(content, "manifest.json", bomb),
        "a pickle as the tensors": with_member(content, "tensors.safetensors", bomb),
        "a pickle alone": sealed({"_obj": bomb, "_metadata": bomb}),
        "a pickle as sktime's": zipped({"_obj": bomb, "_metadata": bomb}),
        "a file of torch": sealed({"archive/data.pkl": bomb, "archive/version": b"3"}),
        "a path upwards": with_member(content, "../exploded", b"x"),
        "an absolute path": with_member(content, str(tmp_path / "exploded"), b"x"),
        "a link": sealed(
            [(link, b"/etc/passwd")] + [m for m in members.items() if m[0] != "state.json"]
        ),
        "a name twice": twice(members),
        "a bomb": sealed({**members, "state.json": b" " * 50_000_000}, zipfile.ZIP_DEFLATED),
        "depth": with_member(content, "state.json", b"[" * 500_000 + b"]" * 500_000),
        "a long number": with_member(content, "state.json", b"9" * 100_000),
        "no JSON": with_member(content, "state.json", b"\xff\xfe"),
        "a member less": sealed({k: v for k, v in members.items() if k != "state.json"}),
        "nothing": sealed({}),
    }
    for case, file in files.items():
        path.write_bytes(file)
        with pytest.raises(ValueError, match="Got the file"):
            SkorchForecaster.load_from_path(path)
            pytest.fail(case)
    harmless = {
        "a pickle that is never read": with_member(content, "_metadata", bomb),
        "another order": sealed(reordered),
    }
    for case, file in harmless.items():
        path.write_bytes(file)
        assert SkorchForecaster.load_from_path(path).is_fitted, case
    assert [one.name for one in tmp_path.iterdir()] == ["hostile.zip"]


def test_a_package_on_the_path_that_is_not_installed_saves_and_loads(monkeypatch, capsys):
    def nothing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    y = pd.Series(np.arange(40.0) % 5, name="y")
    forecaster = tiny(context_length=6).fit(y, fh=[1, 2])
    monkeypatch.setattr(importlib.metadata, "version", nothing)
    kind, saved = forecaster.save(None, "safetensors")
    pd.testing.assert_series_equal(kind.load_from_serial(saved).predict(), forecaster.predict())
    with zipfile.ZipFile(io.BytesIO(saved)) as file:
        versions = json.loads(file.read("manifest.json"))["versions"]
    assert versions["sktime-tlstm"] == sktime_tlstm.__version__
    assert versions["sktime"] == "unknown"
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == sktime_tlstm.__version__


@pytest.mark.parametrize("serialization_format", ["pickle", SAFE])
def test_what_save_returns_loads_as_it_is(serialization_format):
    y = pd.Series(np.arange(40.0) % 5, name="y")
    forecaster = tiny(context_length=6).fit(y, fh=[1, 2])
    pair = forecaster.save(None, serialization_format)
    for serial in (pair, pair[1], bytearray(pair[1])):
        loaded = SkorchForecaster.load_from_serial(serial)
        pd.testing.assert_series_equal(loaded.predict(), forecaster.predict())


@pytest.mark.parametrize("serial", ["model.zip", None, (b"", b"", b"")])
def test_what_is_no_serial_is_refused(serial):
    with pytest.raises(TypeError, match="expected bytes, or the pair that save"):
        SkorchForecaster.load_from_serial(serial)


def test_a_newer_format_is_named_so(content):
    newer = set_at("format_version", value=2)
    words = r"version 2 of the format, expected 1.*'sktime-tlstm'.*Update sktime-tlstm"
    refused(edited(content, newer, "manifest.json"), words)
    refused(edited(content, set_at("class", value="Evil"), "manifest.json"), "of a Evil", TypeError)
    refused(edited(content, set_at("own", value={"module": "x.Y"}), "manifest.json"), "x.Y")
    refused(edited(content, set_at("own", value=3), "manifest.json"), "no save has written")
