"""Every parameter is documented in both forecasters, in the same words, with its own default."""

import ast
import inspect
import itertools
import re

import pytest

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.flagship import NETWORK_PARAMETERS
from sktime_tlstm.nn import TransformerLSTM
from sktime_tlstm.options import CONSTRAINTS
from sktime_tlstm.parameter_texts import GROUPS, documented

FORECASTERS = [SkorchForecaster, TransformerLSTMForecaster]


def signature(cls):
    return {name: own.default for name, own in inspect.signature(cls).parameters.items()}


def entries(cls):
    """Return the kind and the words of each parameter that a docstring documents, in its order."""
    section = inspect.getdoc(cls).split("Parameters\n----------\n")[1]
    section = re.split(r"\n\n\w[\w ]+\n-+\n", section)[0]
    parts = re.split(r"^(\w+) : (.*)\n", section, flags=re.MULTILINE)
    assert not parts[0]
    return {
        name: (kind, words)
        for name, kind, words in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    }


@pytest.mark.parametrize("cls", FORECASTERS)
def test_every_parameter_is_documented_in_the_order_of_the_signature(cls):
    assert list(entries(cls)) == list(signature(cls))
    for name, (_, words) in entries(cls).items():
        assert words.strip().endswith("."), name


@pytest.mark.parametrize("cls", FORECASTERS)
def test_defaults_in_the_text_are_those_of_the_signature(cls):
    for name, (kind, _) in entries(cls).items():
        if name == "module":
            assert "default" not in kind
            continue
        written = kind.rpartition(", default=")[2]
        assert ast.literal_eval(written) == signature(cls)[name], name
        assert "'" not in kind


def test_shared_parameters_have_the_same_text_and_default_and_order_in_both():
    texts, defaults = zip(*((entries(cls), signature(cls)) for cls in FORECASTERS), strict=True)
    shared = [name for name in texts[0] if name in texts[1]]
    assert set(texts[0]) - set(shared) == {"module", "module_params"}
    assert set(texts[1]) - set(shared) == set(NETWORK_PARAMETERS)
    assert [name for name in texts[1] if name in shared] == shared
    for name in shared:
        assert texts[0][name] == texts[1][name]
        assert defaults[0][name] == defaults[1][name]


@pytest.mark.parametrize("cls", FORECASTERS)
def test_signatures_and_their_list_keep_groups_together(cls):
    owner = {name: group for group, own in GROUPS.items() for name in own}
    groups = [group for group, _ in itertools.groupby(signature(cls), owner.__getitem__)]
    assert sorted(groups) == sorted(GROUPS)
    listed = inspect.getdoc(cls).split("by what they are for:\n")[1].split("\n\nParameters\n")[0]
    found = re.findall(r"- (\w+): ((?:``\w+``[,\s]*)+)", listed)
    assert [group for group, _ in found] == groups
    assert re.findall(r"``(\w+)``", listed) == list(signature(cls))


def test_every_text_is_of_a_parameter_that_has_a_constraint():
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))
    assert set(names) == set(CONSTRAINTS) - {"update_every", "num_windows", "num_repeats"}


def test_the_networks_parameters_are_those_of_its_constructor():
    assert set(NETWORK_PARAMETERS) <= set(signature(TransformerLSTM))


@pytest.mark.parametrize("cls", FORECASTERS)
def test_help_is_complete_and_fits_a_screen(cls):
    text = inspect.getdoc(cls)
    assert not re.search(r"\{\w+\}", text)  # what was to be filled in
    assert max(map(len, text.splitlines())) <= 100
    assert "Examples\n--------\n>>> " in text


def test_without_docstrings_nothing_is_filled_in():
    class Bare:
        def __init__(self, lr=0.5):
            pass

    assert documented(Bare).__doc__ is None
