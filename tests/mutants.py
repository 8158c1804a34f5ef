"""Break the core by hand in many places, and see whether a test notices each.

    python tests/mutants.py              # all of them, two at a time: about ten minutes
    python tests/mutants.py --only model

A mutant is a line changed so that the package is silently wrong. Each names the tests that should
notice. One that none notices is a survivor, and the script fails; a change that cannot be noticed
is no mutant and does not belong here.
"""

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutant(NamedTuple):
    """A file of the package, the text that is changed in it, and the tests that should notice."""

    file: str
    old: str
    new: str
    tests: str


# fmt: off
MUTANTS = [
    # forecasting
    Mutant(
        "forecasting.py",
        "cutoff = asked.cutoff[series] + step - 1",
        "cutoff = asked.cutoff[series] + step",
        "model",
    ),
    Mutant(
        "forecasting.py",
        "np.flatnonzero(asked.step <= 0)",
        "np.flatnonzero(asked.step < 0)",
        "model",
    ),
    Mutant(
        "forecasting.py",
        "asked.series[rows] - begin, asked.step[rows] - 1",
        "asked.series[rows] - begin, asked.step[rows] - 2",
        "model",
    ),
    Mutant(
        "forecasting.py",
        "series = np.tile(asked.series, num_samples)",
        "series = np.repeat(asked.series, num_samples)",
        "model global",
    ),
    Mutant(
        "forecasting.py",
        "loc = history.loc[asked.series] + history.scale[asked.series] * loc",
        "loc = history.loc[asked.series] + loc",
        "probabilistic",
    ),
    Mutant("forecasting.py", "loc[:, order], scale[:, order]", "loc, scale", "data/test_targets"),
    # model
    Mutant(
        "model.py",
        "self.head.point(forecast.parameters.double()).mean(0)",
        "self.head.point(forecast.parameters.double())[0]",
        "model",
    ),
    Mutant("model.py", "np.maximum(values, 0.0)", "values", "model"),
    Mutant("model.py", "values = values.round()", "values = values + 0.0", "model"),
    Mutant(
        "model.py",
        "forecast = self.ahead(rolled, series, cutoff + begin)",
        "forecast = self.ahead(rolled, series, cutoff)",
        "model",
    ),
    Mutant(
        "model.py",
        "observed[row, :targets] = block.float(), True",
        "observed[row, :targets] = block.float(), False",
        "model",
    ),
    Mutant(
        "model.py",
        "np.random.default_rng([self.seed, *place])",
        "np.random.default_rng([self.seed, place[0]])",
        "model",
    ),
    Mutant("model.py", "[self.seed, first + one]", "[self.seed, one]", "model"),
    Mutant(
        "model.py",
        "cutoff = np.tile(windows.cutoff[series], num_samples)",
        "cutoff = np.repeat(windows.cutoff[series], num_samples)",
        "model",
    ),
    Mutant("model.py", "paths[:, :, horizon:]", "paths[:, :, : paths.shape[2] - horizon]", "model"),
    Mutant(
        "model.py",
        "(step <= self.spec.horizon).all()",
        "(step <= self.spec.horizon + 1).all()",
        "probabilistic",
    ),
    Mutant(
        "model.py",
        "begin, end = end, end + len(of_update)",
        "begin, end = 0, end + len(of_update)",
        "calibration backtest",
    ),
    # calibration, simple and families
    Mutant(
        "calibration.py",
        "place = np.clip(level * (number + 1) - 1",
        "place = np.clip(level * number - 1",
        "calibration",
    ),
    Mutant("calibration.py", "return off / torch.where(off < 0", "return -off / torch.where(off < 0",
           "calibration"),
    Mutant("calibration.py", "np.concatenate([pooled, -pooled])", "pooled", "calibration"),
    Mutant("calibration.py", "horizon / step, 1.0)", "horizon / 1, 1.0)", "calibration"),
    Mutant("calibration.py", "np.cumsum(shares[::-1])[::-1]", "np.cumsum(shares)", "calibration"),
    Mutant("calibration.py", "rank[window] + rng.random", "rank[window] + 0 * rng.random",
           "calibration"),
    Mutant("calibration.py", "prior = -CAUTION * weight", "prior = 0 * weight", "calibration"),
    Mutant("calibration.py", "np.where(passes, number, 0)", "number", "calibration"),
    Mutant(
        "calibration.py",
        'order = np.argsort(-back, kind="stable")',
        'order = np.argsort(back, kind="stable")',
        "calibration",
    ),
    Mutant(
        "calibration.py", "last = lengths - horizon", "last = lengths - horizon + 1", "calibration"
    ),
    Mutant("simple.py", "fits &= cutoff < upper", "pass", "simple"),
    Mutant("simple.py", "weight @ (rest - time * share * slope)", "weight @ rest", "simple"),
    Mutant("simple.py", "% season]\n        for smoothing", "% 1]\n        for smoothing", "simple"),
    Mutant("simple.py", "] &= positive[:, None]", "] &= True", "simple"),
    Mutant("simple.py", "(SHARPNESS * windows)", "(SHARPNESS * 100)", "simple"),
    Mutant("simple.py", "weight = count / step", "weight = count * 0 + 1", "simple"),
    Mutant("simple.py", "torch.arcsinh(bands) if self.arcsinh else bands", "bands", "simple"),
    Mutant("families.py", "return values / unit", "return values", "families"),
    Mutant("families.py", "else self.scale**2 * values", "else self.scale * values", "families"),
    Mutant("families.py", "(z**2 - 1) / 6", "(z**2 - 1) / 2", "families"),
    # fitted
    Mutant(
        "fitted.py",
        "last = self.history.first + self.seen - 1",
        "last = self.history.first + self.history.lengths - 1",
        "semantics forecaster global",
    ),
    Mutant(
        "fitted.py",
        "step = within - self.seen[series] + 1",
        "step = within - self.seen[series]",
        "semantics",
    ),
    Mutant(
        "fitted.py",
        "history.first + history.lengths - end, 0)",
        "history.lengths, 0)",
        "calibration",
    ),
    Mutant(
        "fitted.py", "            before.give_back(history)\n", "            pass\n", "backtest"
    ),
    # fitting
    Mutant(
        "fitting.py", "FINETUNE_LR = 0.15", "FINETUNE_LR = 0.9", "fitting net pretrained_parameters"
    ),
    Mutant(
        "epochs.py",
        "min(options.batch_size, max(MIN_BATCH, windows // _least_steps(spec)))",
        "options.batch_size",
        "fitting forecaster",
    ),
    Mutant(
        "epochs.py",
        "max(min(int((high - low).sum()), passes), _least_steps(spec) * batch_size)",
        "max(int((high - low).sum()), _least_steps(spec) * batch_size)",
        "fitting forecaster",
    ),
    Mutant(
        "epochs.py",
        "np.where(split < high, split + spec.horizon - 1, high)",
        "np.where(split < high, split, high)",
        "calibration semantics",
    ),
    Mutant(
        "epochs.py",
        "low, np.where(named, low, high), batch_size)",
        "low, high, batch_size)",
        "held_out",
    ),
    Mutant("fitting.py", "max(usual, 2 * horizon)", "max(usual, horizon)", "forecaster fitting"),
    Mutant(
        "fitting.py",
        "recent = np.minimum(new_rows, high - low)",
        "recent = high - low",
        "semantics fitting",
    ),
    Mutant(
        "calibrating.py",
        'order = np.argsort(cutoff, kind="stable")',
        'order = np.argsort(-cutoff, kind="stable")',
        "calibration",
    ),
    Mutant(
        "fitting.py", "lag <= min(longest // 3, MAX_LAG)", "lag <= MAX_LAG", "forecaster fitting"
    ),
    Mutant(
        "fitting.py",
        "max(1, min(usual, MAX_HORIZON, longest // 3))",
        "max(1, min(usual, MAX_HORIZON))",
        "forecaster fitting",
    ),
    Mutant(
        "fitting.py",
        "members = copy.deepcopy(model.members)\n    model = replace(",
        "members = model.members\n    model = replace(",
        "semantics",
    ),
    # cutoffs and backtest
    Mutant(
        "cutoffs.py",
        "cutoff[series[window]] = within[window] + 1",
        "cutoff[series[window]] = within[window]",
        "backtest",
    ),
    Mutant("cutoffs.py", "wanted = behind(step[window, series])", "wanted = behind(step[0, 0])", "time"),
    Mutant("cutoffs.py", "np.maximum(end, cutoff, out=end)", "end[:] = cutoff", "backtest"),
    Mutant(
        "cutoffs.py",
        "extend(replace(history, young={}), seen",
        "extend(history, seen",
        "backtest data/test_targets",
    ),
    Mutant(
        "cutoffs.py",
        "model = models[min(group.start - begin, len(models) - 1)]",
        "model = models[0]",
        "backtest",
    ),
    Mutant(
        "cutoffs.py",
        "[learn(models[0], then, new_rows)], self.ends[begin]",
        "[learn(self.model, then, new_rows)], self.ends[begin]",
        "backtest",
    ),
    Mutant(
        "backtest.py",
        "return y_test[observed & y_test.index.isin(forecast.index)]",
        "return y_test[y_test.index.isin(forecast.index)]",
        "backtest",
    ),
    Mutant(
        "backtest.py",
        "(0.5 - share / 2, 0.5 + share / 2)",
        "(share / 2, 1 - share / 2)",
        "backtest",
    ),
    Mutant(
        "backtest.py",
        "starts = np.full_like(later, train[0]) if expands else train[0] + later",
        "starts = train[0] + later",
        "backtest",
    ),
    # data
    Mutant(
        "data/windows.py",
        "scale = torch.where(count > 0, mean, level)",
        "scale = mean",
        "data/test_windows",
    ),
    Mutant(
        "data/windows.py",
        "torch.where(count > 1, variance.sqrt(), spread)",
        "torch.where(count > 0, variance.sqrt(), spread)",
        "data/test_windows",
    ),
    Mutant(
        "data/windows.py",
        "rows = slice(spec.reach - spec.norm_length, spec.reach)",
        "rows = slice(spec.reach - spec.norm_length, spec.reach + 1)",
        "data/test_windows",
    ),
    Mutant(
        "data/windows.py",
        "rows = reach - lag + torch.arange(horizon, device=values.device) % lag",
        "rows = reach - lag + torch.arange(horizon, device=values.device)",
        "data/test_windows",
    ),
    Mutant(
        "data/windows.py",
        "lengths = cutoff.clamp(1, spec.context_length)",
        "lengths = cutoff.clamp(1, spec.context_length - 1)",
        "data/test_windows",
    ),
    Mutant(
        "data/windows.py",
        "torch.where(seen[:, reach:] > 0, normalised[:, reach:], torch.nan)",
        "normalised[:, reach:]",
        "data/test_windows",
    ),
    Mutant(
        "data/sampling.py",
        "split = np.where(number > 0, high - number - horizon + 1, high)",
        "split = np.where(number > 0, high - number, high)",
        "data/test_windows",
    ),
    Mutant(
        "data/sampling.py",
        "aligned = within + to_end % self.season",
        "aligned = within",
        "data/test_windows",
    ),
    Mutant(
        "data/sampling.py",
        "late = last - (last - within) * number // self.count[place]",
        "late = within",
        "data/test_windows",
    ),
    Mutant(
        "data/history.py",
        "and self.mark is self.room.latest  # nobody else uses the room",
        "",
        "data/test_history backtest",
    ),
    Mutant(
        "data/history.py",
        "if later.room is self.room and later.mark is self.room.latest:",
        "if later.room is self.room:",
        "backtest",
    ),
    Mutant(
        "data/history.py", "self.store.observed.numpy()[added] = False", "pass", "backtest"
    ),
    Mutant(
        "data/encoder.py",
        "first, none = history.first + cutoff - kept, np.zeros_like(kept)",
        "first, none = history.first, np.zeros_like(kept)",
        "data/test_encoder model",
    ),
    Mutant(
        "data/encoder.py",
        "carried[target] = True",
        "carried[:] = True",
        "data/test_encoder semantics",
    ),
    # net, options, forecaster
    Mutant(
        "net.py",
        "scaled = target[0] if isinstance(target, tuple) else target",
        "scaled = target[-1] if isinstance(target, tuple) else target",
        "net networks_in_forecaster",
    ),
    Mutant(
        "net.py",
        "loss = loss + cast(Any, self.module_).auxiliary_loss()",
        "pass",
        "net networks_in_forecaster",
    ),
    Mutant(
        "contract.py",
        "future[:, -1, : len(spec.known)] += 1.0",
        "future[:, -1, : len(spec.known)] += 0.0",
        "short_covariates",
    ),
    Mutant(
        "forecaster.py",
        "self.__dict__.update({name: before[name] for name in names or before})",
        "pass",
        "failure",
    ),
    Mutant(
        "forecaster.py",
        "return max(1, int(relative_steps(fh, timeline, last).max()))",
        "return max(1, len(relative_steps(fh, timeline, last).T))",
        "forecaster semantics",
    ),
    # weights
    Mutant("nn/heads.py", "observed & (weight > 0)", "observed", "weights"),
    Mutant("nn/heads.py", "observed | (weight == 0)", "observed", "weights"),
    Mutant("data/sampling.py", "told[told != 0].clip(min=0)", "told.clip(min=0)", "weights"),
    Mutant("data/sampling.py", "most * float((weights / most).mean())", "most", "weights"),
    Mutant(
        "data/covariates.py", "np.where(weights > 0, weights, -1.0)", "weights", "weights"
    ),
    Mutant("data/encoder.py", "self._covariates.write_weights(merged, X, X_rows)", "pass", "weights"),
    Mutant("net.py", "self.criterion_(y_pred, *given, **weights)", "self.criterion_(y_pred, *given)", "weights"),
    # micro-batches
    Mutant("net.py", "* shares[rows].sum()", "* len(counted[rows]) / len(counted)", "micro_batches"),
    # hidden columns
    Mutant("data/windows.py", "(offset < 0)[:, None] & hidden", "(offset < -1)[:, None] & hidden", "data/test_windows"),
    Mutant("data/windows.py", "observed * read[:, : observed.shape[-1]]", "observed", "data/test_windows"),
    # beyond training
    Mutant("beyond.py", "history.timeline.check_step(encoder.timeline, model.spec.simulation)", "pass", "beyond"),
    Mutant("fitted.py", "history.timeline.check_step(encoder.timeline, spec.simulation)", "pass", "beyond"),
    Mutant("beyond.py", "far[own] &= distance[own] > known", "pass", "beyond"),
    Mutant("beyond.py", "~np.isin(place, learning)", "True", "beyond"),
    Mutant("data/encoder.py", "(within >= begin[series])", "(within >= 0)", "beyond"),
    # augmentation
    Mutant("data/augmentation.py", "noise * flags", "noise", "data/test_augmentation"),
    Mutant("data/augmentation.py", "shortest, whole + 1,", "shortest, whole,", "data/test_augmentation"),
    Mutant("data/augmentation.py", "lengths - kept, kept", "0 * kept, kept", "data/test_augmentation"),
    Mutant("data/augmentation.py", "torch.minimum(drawn, lengths)", "drawn", "data/test_augmentation"),
    Mutant("net.py", "net.augmentation_ = checkpoint, augmentation", "net.augmentation_ = checkpoint, None", "augmentation"),
]
# fmt: on


def outcome(mutant: Mutant) -> str:
    """Return "killed", "SURVIVED", or why the mutant is none."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("sktime_tlstm", "tests", "docs", "examples"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "sktime_tlstm" / mutant.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutant.old) != 1:
            return f"NOT FOUND: {text.count(mutant.old)} times"
        path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        names = [name if "/" in name else f"test_{name}" for name in mutant.tests.split()]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        command += ["-m", "not contract and not contract_extra and not slow"]
        command += [f"tests/{name}.py" for name in names]
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=False)
        return {0: "SURVIVED", 1: "killed"}.get(run.returncode, f"NO RUN: {run.returncode}")


def main() -> None:
    """Run the mutants and list what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="part of the name of the files to break")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.file]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for mutant, result in zip(chosen, pool.map(outcome, chosen), strict=True):
            failed += result != "killed"
            print(
                f"{result:10} {mutant.file:22} {mutant.new.strip()[:60]!r}",
                flush=True,
            )
    print(f"{len(chosen) - failed} of {len(chosen)} killed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
