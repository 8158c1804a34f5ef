"""Flags packed into bits read and change as a tensor of bool does."""

import numpy as np
import pytest
import torch

from sktime_tlstm.data.flags import Flags

ROWS = 23
NUMBERS = pytest.mark.parametrize("number", [1, 5, 8, 9, 19])


def make(number):
    flags = torch.rand(ROWS, number, generator=torch.Generator().manual_seed(number)) > 0.5
    return flags, Flags.of(flags)


@NUMBERS
def test_reading_is_as_of_a_tensor(number):
    flags, packed = make(number)
    assert packed.shape == flags.shape
    assert packed.bits.dtype == torch.uint8
    assert packed.bits.shape == (ROWS, -(-number // 8))
    for rows in (3, slice(2, 11), torch.tensor([[4, 4, 0], [22, 1, 9]]), np.array([7, 2])):
        assert packed[rows].equal(flags[rows])
        for channels in (slice(None), slice(0, 1), slice(number // 2, None)):
            assert packed[rows, channels].equal(flags[rows][..., channels])
        for channel in range(number):
            assert packed[rows, channel].equal(flags[rows][..., channel])


@NUMBERS
def test_writing_changes_what_is_named_and_nothing_else(number):
    flags, packed = make(number)
    kept = packed.clone()
    rows, channel = torch.tensor([[5, 6], [12, 5]]), number - 1
    flags[rows, channel] = True
    packed.mark(rows, channel)
    assert packed[:].equal(flags)
    flags[[20, 3]] = flags[[1, 2]]
    packed[[20, 3]] = flags[[1, 2]]
    assert packed[:].equal(flags)
    flags[8:10] = False
    packed[8:10] = False
    assert packed[:].equal(flags)
    assert packed.at(slice(3, 12))[:].equal(flags[3:12])
    assert kept[:].equal(make(number)[0])
