"""What every parameter of the forecasters means: the one source of their docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["GROUPS", "documented", "entries", "texts"]

Class = TypeVar("Class", bound=type)

_NETWORK = """
module : class or function
    The network: ``module(num_past_features, num_future_features, output_dim, **module_params)``
    returns a ``torch.nn.Module`` with ``forward(past, future, past_lengths=None)`` ->
    (batch, future_time, output_dim). See `sktime_tlstm.nn` for networks to take or to copy.
module_params : dict or None
    Further keyword arguments of ``module``.
d_model : int
    Width of all layers, a multiple of ``num_heads``.
num_layers : int
    LSTM layers of the encoder and of the decoder.
num_transformer_blocks : int
    Attention blocks; 0 leaves the LSTM encoder-decoder with gated residual inputs.
num_heads : int
    Heads of each attention.
dropout : float
    Share of the values that each training step leaves out, below 1.
causal_attention : bool
    Whether a forecast step may attend to earlier steps of the future only.
attention : {"multi_head", "interpretable", "frequency"}
    "interpretable" shares the values over all heads (Lim et al. 2021). "frequency" mixes a few
    Fourier modes of the whole sequence (Zhou et al. 2022), and is never causal.
num_modes : int
    Of "frequency": how many of the lowest modes are kept, at least 2. A cycle is lost that
    comes round ``num_modes`` times or more within context and horizon together.
encoder_attention : bool
    Whether the blocks refine the encoded past by self-attention too.
share_lstm_weights : bool
    Use one LSTM as encoder and decoder.
trainable_add : bool
    Scale the residuals within blocks by learned factors.
norm : {"layer", "rms", "adaptive"}
    Normalisation within blocks. Gain and bias of "adaptive" follow the mean of the window's
    past and its static covariates.
norm_first : bool
    Normalise the input of each branch of a block, and not the sum.
final_norm : bool
    Normalise in front of the output.
feedforward : {"relu", "gelu", "silu", "swiglu", "moe"} or None
    The feed-forward layer after each attention; "moe" is a mixture of experts, None for none.
dim_feedforward : int or None
    Width within feed-forward layers; None for ``4 * d_model``.
num_experts : int
    Of "moe": how many experts there are.
experts_per_token : int
    Of "moe": how many experts see each step.
capacity_factor : float or None
    Of "moe": how full an expert may get in training, as a multiple of its even share; None for
    no bound.
expert : {"relu", "gelu", "silu", "swiglu"}
    Of "moe": the kind of each expert.
share_layers : bool
    Apply one block ``num_transformer_blocks`` times.
gradient_checkpointing : bool
    Train with less memory and more time, to the same result.
attention_kernel : {"auto", "flash", "memory_efficient", "math"}
    Which of torch's kernels computes attention, to the same result. "auto" takes the fastest that
    can; another refuses, in use, what it has no code for.
"""

_WINDOWS = """
mode : {"forecast", "simulation"}
    "simulation" is for systems driven by a known input: the network runs freely over any number
    of steps, its state carried on, and reads X but no outputs after the context. Targets of all
    series have one scale, X is not clipped, there is no calendar, no window normalisation and no
    lags, LSTMs read inputs as they are, and the simple forecast is a linear simulation. It is
    trained on ``prediction_length`` steps at a time, whatever fh.
context_length : int or None
    Rows the network sees before a cutoff. None: two seasons (of a day for hourly data; where
    the index tells of none, one that the data show), of short seasons up to four or 48 rows; 64
    without a season, at least two horizons; at most 384 and than the data has. Of a simulation
    64.
prediction_length : int or None
    Horizon of one pass, where ``fit`` gets no ``fh``. None: one season, 12 without one; at
    most 96 and a third of the longest series. Any fh can be forecast later, by rolling forward.
    Of a simulation 256, at most a third of the longest series.
"""

_DATA = """
past_covariates : list of str or None
    Columns of X that are not known in the future.
hidden_past : list of str or None
    Columns of X whose rows before the cutoff the network does not read, as context and as lags, but
    those after it alone; of a simulation also columns of y, whose values then only train it: it
    begins from inputs, wherever no output is measured.
static_covariates : list of str or None
    Columns of X that are constant within each series, such as a store's region: given to the
    network as one vector a series (it must take ``static``), and not needed in ``predict``.
series_embedding : bool
    Learn a vector for every series of a panel, by which the network tells them apart. A
    series that was not trained on has a neutral one.
time_features : "auto" or tuple of str
    Calendar features: "time_of_day", "day_of_week", "weekend", "day_of_year". "auto": those
    that the frequency and the length of the data support.
target_lags : "auto" or tuple of int
    Lags, in steps, at which the decoder sees target and covariates. "auto": one and seven
    seasons for steps below a day, else one season; only those of at most 1,024 steps and a
    third of the data.
scaler : str or None
    Scaling of each series, and of each covariate over all series: "robust" (distance to the
    median in median absolute deviations), "robust_arcsinh" (the arcsinh of that, which tames
    spikes), "standard", "minmax", "mean" (divided by the mean). "auto" is "robust"; for
    targets "robust_arcsinh" where more than a tenth of the series have values 50 deviations
    off, unless the loss forecasts a mean, and "mean" for positive targets and counts. None
    leaves both as they are; with ``window_norm=None`` too, ``X`` is not clipped.
window_norm : {"meanstd", "mean"} or None
    Normalisation of the target in each window, by its context or its last seven seasons: by
    mean and deviation, by the mean alone, or none. Of a simulation none.
"""

_LOSS = """
loss : str or Head
    "quantile"; "mse", "mae" or "huber", whose intervals come from errors on held-out windows;
    a distribution, trained by its likelihood: "normal", "student_t", "laplace"; for positive
    targets "log_normal", "gamma"; for counts "negative_binomial", "poisson"; or a head, such as
    ``sktime_tlstm.nn.PointHead(torch.nn.SmoothL1Loss())`` for a loss of one's own. Point
    forecasts are medians, for "mse" and distributions means.
quantiles : tuple of float or None
    Levels that "quantile" trains; None for 0.1, 0.2, ..., 0.9. Any level can be forecast.
weight_column : str or None
    Column of X with the weight of every row in the loss, numbers of at least 0; one that is
    constant within a series weighs series. They are divided by their mean. It is no covariate:
    ``fit``, ``pretrain`` and ``update`` need it, ``predict`` does not. A row of weight 0 is no
    target, but is still read as context and for scaling; errors that are reported or calibrate
    intervals have no weights.
step_weights : list of float or None
    Weight of every step of the trained horizon in the loss, divided by their mean.
calibration : {"adaptive", "conformal", "none"}
    What errors on rows held out of training are used for. "adaptive": they weigh the network
    against simple forecasts (level, trend, season, effects of known covariates), each target by
    its own, and set the intervals; the errors on the rows that ``update`` brings count too (the
    latest 100 horizons, or the latest one of every series). "conformal": the same without the
    rows of ``update``. "none": the network alone, whose intervals are too narrow on little data.
num_samples : int
    Sample paths for intervals beyond the horizon.
"""

_TRAINING = """
window_sampling : {"by_series", "uniform"}
    Draw every series equally often, or every window.
max_windows_per_epoch : int or None
    Bounds an epoch. None: 2,560 and, of data of more than 50,000 rows, in proportion more, up
    to eight times as many. Every epoch draws windows afresh, half of them whole seasons before the
    end of the data: no row is a target more than about five times, but at least 20 batches
    are drawn (tiny data repeat; their batches shrink down to 8). Of a simulation 200, where there
    are as many windows as that takes.
input_noise : float
    Standard deviation of Gaussian noise that every training step adds to what the encoder reads of
    the context: targets and numeric covariates, each in the scaled units in which it is read. Gaps,
    categories and calendar get none, nor does what the decoder reads (lags, known covariates); and
    no noise is in validation, calibration and forecasts.
min_context_length : int or None
    In every training step each window keeps a number of its last rows of context that is drawn
    evenly between this and ``context_length``; what it had before is hidden from the network, but
    not from normalisation and lags. None: contexts are whole. Those of validation, calibration and
    forecasts always are.
max_epochs : int
    Epochs of ``fit``, fewer if the validation loss stops it. 0 leaves the network as it was built:
    for one that comes with its weights, such as ``sktime_tlstm.nn.FromTransformerTF``; others are
    warned about.
batch_size : int
    Windows of a training step, fewer on tiny data and in simulations (`max_windows_per_epoch`).
lr : float
    The largest learning rate; fine-tuning and updates take 0.15 times as much throughout.
optimizer : {"adamw", "adam", "sgd"}
    How the weights follow the gradient; others of torch through ``net_params``.
weight_decay : float or None
    How strongly the optimizer draws weights towards zero, if it takes such a parameter. None: 0.3;
    of a simulation at most that, and 100 by the number of observed rows it is first trained on.
gradient_clip : float or None
    Largest norm of the gradient; None for no bound.
lr_schedule : {"onecycle", "cosine"} or None
    How the learning rate changes over the steps of ``fit``: up and down again, down, or not.
validation_fraction : float or None
    Share of each series' cutoffs, its last ones, that is held out of training for validation,
    whose loss stops training early and picks the best weights. None: where errors are needed
    (calibration, point losses) 0.1, of little data up to a third, and training then goes on
    over all rows; else 0. Series of at most two horizons have none. A simulation holds out blocks
    all over each series instead, of any length.
validation_series : list or None
    Keys of series of a panel that are held out of all training as a whole, and validated in the
    place of the last rows of each (``validation_fraction`` is None then): their loss stops training
    early and picks the best weights, their errors calibrate. In a hierarchy a key is the tuple of
    all its levels. They are forecast as any other series.
patience : int or None
    Epochs without a better validation loss before training stops; None for never.
finetune_epochs : int
    Epochs of ``fit`` after ``pretrain``; 0 for zero-shot forecasts.
update_epochs : int
    Epochs of ``update(update_params=True)`` on the new rows' windows and as many old ones.
num_members : int
    Networks with different seeds whose forecasts are averaged. On the CPU they train side by side,
    one on each of torch's threads, unless ``callbacks``, ``compile``, ``verbose=2`` or a network
    of your own ask for one after the other.
callbacks : list or None
    Further skorch callbacks. Every network has copies of them, which share what cannot be copied,
    such as a writer. One that reads the validation loss does nothing, with a warning, where there
    is none: in fine-tuning and updates always.
net_params : dict or None
    Any argument of skorch's NeuralNet, such as ``{"iterator_train__num_workers": 2}``; and
    "data_parallel", and "micro_batch_size": windows of a batch that go through the network at once
    in training, whose gradients are added up (gradient accumulation).
"""

_RUN = """
device : str
    "auto" is CUDA where there is one, else the CPU.
precision : {"auto", "float32", "bf16-mixed"}
    "bf16-mixed" trains the network in bfloat16; weights, loss and forecasts stay float32. "auto"
    does so on CPUs with AMX, which are faster then, with the networks of this package in batches of
    at least 64 windows, but not in simulations.
compile : bool
    Compile the network with ``torch.compile``. Several such fits in threads take turns.
random_state : int, RandomState or None
    An integer makes weights and forecasts repeatable on the same machine and versions, also in
    threads. The global random states of numpy and torch are left alone.
checkpoint_dir : str, Path or None
    Folder for the state of ``fit``, ``pretrain`` and ``update`` after every epoch; the same call
    with the same data, in a new process after a crash, goes on there to the same bits. The folder
    is cleared at the end of the call.
verbose : int
    1 shows the progress of trainings and of long forecasts on standard error, 2 skorch's table.
"""


def texts(group: str) -> dict[str, tuple[str, str]]:
    """Return the kind and the words of each parameter of a text in numpydoc's form.

    Parameters
    ----------
    group : str
        For each: a line "name : kind", and indented lines of words.
    """
    parts = re.split(r"^(\w+) : (.*)\n", group.strip("\n"), flags=re.MULTILINE)[1:]
    return {
        name: (kind, words.rstrip())
        for name, kind, words in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


#: The kind and the words of every parameter, by what it is for.
GROUPS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "network": texts(_NETWORK),
    "windows": texts(_WINDOWS),
    "data": texts(_DATA),
    "loss": texts(_LOSS),
    "training": texts(_TRAINING),
    "run": texts(_RUN),
}


def entries(cls: type) -> dict[str, tuple[str, str, str]]:
    """Return the group, the kind with its default, and the words of a forecaster's parameters.

    They are in the order of the signature. sktime asks for constructors that are written out; their
    defaults are read from there.
    """
    groups = {name: (group, *own[name]) for group, own in GROUPS.items() for name in own}
    found = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        group, kind, words = groups[name]
        found[name] = group, _kind(kind, parameter.default, name), words
    return found


def documented(cls: Class) -> Class:
    """Fill ``{groups}`` and ``{parameters}`` of a forecaster's docstring."""
    found = entries(cls)
    written = [f"{name} : {kind}\n{words}" for name, (_, kind, words) in found.items()]
    groups: dict[str, list[str]] = {}  # in the order of the signature
    for name, (group, _, _) in found.items():
        groups.setdefault(group, []).append(f"``{name}``")
    listed = [_wrapped(f"- {group}: {', '.join(names)}") for group, names in groups.items()]
    if cls.__doc__:  # not under python -OO
        cls.__doc__ = cls.__doc__.replace("{parameters}", _indented("\n".join(written)))
        cls.__doc__ = cls.__doc__.replace("{groups}", _indented("\n".join(listed)))
    return cls


def _kind(kind: str, default: Any, name: str) -> str:
    if name == "module":  # it has a default for sktime's sake alone
        return kind
    return f"{kind}, default=" + (f'"{default}"' if isinstance(default, str) else repr(default))


def _wrapped(line: str, width: int = 92) -> str:
    """Break an item of a list into lines."""
    lines = [""]
    for word in line.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append(" ")
        lines[-1] += (" " if lines[-1] else "") + word
    return "\n".join(lines)


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
