import ast
from pathlib import Path

import pytest
import torch

from sktime_tlstm.nn import decoder_mask, encoder_mask, masks, padding_mask


def test_padding_mask_is_true_at_real_steps():
    expected = [[1, 0, 0], [1, 1, 1], [1, 1, 0]]
    assert padding_mask(torch.tensor([1, 3, 2]), 3).int().tolist() == expected


def test_there_is_no_mask_where_nothing_is_padded_and_nothing_is_causal():
    assert encoder_mask(5, None) is None
    assert decoder_mask(5, 3, causal=False) is None
    assert decoder_mask(5, 3, causal=True) is not None
    assert decoder_mask(5, 3, torch.tensor([5]), causal=False) is not None
    assert decoder_mask(5, 3, None, torch.tensor([3]), causal=False) is not None


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("past_padded", [False, True])
@pytest.mark.parametrize("future_padded", [False, True])
def test_decoder_mask_equals_its_definition(strict, causal, past_padded, future_padded):
    past_lengths = torch.tensor([2, 5, 3]) if past_padded else None
    future_lengths = torch.tensor([4, 1, 2]) if future_padded else None
    mask = decoder_mask(5, 4, past_lengths, future_lengths, causal, strict=strict)
    full = torch.ones(3, 1, 4, 9, dtype=torch.bool) if mask is None else mask.expand(3, 1, 4, 9)
    for row in range(3):
        for i in range(4):
            for key in range(9):
                j = key - 5
                if key < 5:
                    allowed = not past_padded or key < past_lengths[row]
                else:
                    allowed = not future_padded or j < future_lengths[row]
                    allowed = allowed and (not causal or j < i or (j == i and not strict))
                assert bool(full[row, 0, i, key]) == bool(allowed), (row, i, key)


@pytest.mark.parametrize("room", ["inputs", "normalization"])
def test_what_needs_masks_needs_no_attention(room):
    source = Path(masks.__file__).with_name(f"{room}.py").read_text()
    imported = {node.module for node in ast.walk(ast.parse(source)) if hasattr(node, "module")}
    assert {name for name in imported if "sktime_tlstm" in name} == {"sktime_tlstm.nn.masks"}
