"""Local attention: each step looks at the steps just before it, so that a future may go on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sktime_tlstm.nn.blocks import BlockStack

__all__ = ["LocalWindow", "local_mask"]


def local_mask(window: int, device: torch.device | str | None = None) -> Tensor:
    """Return where the steps of a chunk may look among those of the chunk before and their own.

    Step i sees the ``window`` steps before it, and not itself, as in `decoder_mask`.

    Parameters
    ----------
    window : int
        Number of steps of a chunk, and of what each step sees.
    device : torch.device or str, optional

    Returns
    -------
    Tensor of shape (window, 2 * window), bool

    Examples
    --------
    >>> local_mask(2).int().tolist()
    [[1, 1, 0, 0], [0, 1, 1, 0]]
    """
    step = torch.arange(window, device=device)[:, None]
    key = torch.arange(2 * window, device=device)
    return (step <= key) & (key < step + window)


@dataclass(frozen=True)
class LocalWindow:
    """The latest steps in front of each block, which the next steps look at.

    Sliding-window attention (Beltagy, Peters, Cohan 2020, "Longformer", section 3.1), computed in
    chunks: its cost is linear in the number of steps, and every step is treated alike, wherever
    chunks begin.

    Parameters
    ----------
    before : list of Tensor of shape (batch, window, d_model)
        One for each block.
    real : Tensor of shape (batch, window), bool, or None
        Which of the steps there are; None for all.
    """

    before: list[Tensor]
    real: Tensor | None

    @classmethod
    def after(
        cls, encoded: Tensor, lengths: Tensor | None, window: int, num_blocks: int
    ) -> LocalWindow:
        """Return the window behind an encoded past.

        Parameters
        ----------
        encoded : Tensor of shape (batch, past_time, d_model)
            Left-aligned, padding last.
        lengths : Tensor of shape (batch,) or None
            Numbers of real steps; None where nothing is padded.
        window, num_blocks : int
        """
        batch, time, _ = encoded.shape
        ragged = lengths is not None or time < window
        if lengths is None:
            lengths = torch.full((batch,), time, dtype=torch.int64, device=encoded.device)
        lengths = lengths.to(encoded.device)
        # (batch, window): the last real steps, those that there are not in front
        place = lengths[:, None] - window + torch.arange(window, device=encoded.device)
        last = encoded.gather(1, place.clamp(min=0)[..., None].expand(-1, -1, encoded.shape[-1]))
        return cls([last] * num_blocks, place >= 0 if ragged else None)

    def refine(
        self, blocks: BlockStack, decoded: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, LocalWindow]:
        """Pass the next steps through all blocks.

        Parameters
        ----------
        blocks : BlockStack
            Of `TransformerBlock` without encoders.
        decoded : Tensor of shape (batch, time, d_model)
        condition : Tensor of shape (batch, condition_features) or None

        Returns
        -------
        decoded : Tensor of shape (batch, time, d_model)
        window : LocalWindow
            That of the steps after these.
        """
        if not self.before:
            return decoded, self
        batch, time, width = decoded.shape
        window = self.before[0].shape[1]
        chunks = -(-time // window)
        mask = self._mask(batch, chunks, window, decoded.device)
        if condition is not None:
            condition = condition.repeat_interleave(chunks, dim=0)
        decoded = functional.pad(decoded, (0, 0, 0, chunks * window - time))
        after = []
        for block, before in zip(blocks.passed(), self.before, strict=True):
            steps = torch.cat((before, decoded), dim=1)
            after.append(steps[:, time : time + window])
            # (batch, chunk, window, width) -> each chunk beside the one before it
            steps = steps.reshape(batch, chunks + 1, window, width)
            past, own = steps[:, :-1].flatten(0, 1), steps[:, 1:].flatten(0, 1)
            _, own = blocks.run(block, past, own, None, mask, None, condition)
            decoded = own.reshape(batch, chunks * window, width)
        real = self.real
        if real is not None:
            real = functional.pad(real, (0, time), value=True)[:, time : time + window]
        return decoded[:, :time], LocalWindow(after, real)

    def _mask(self, batch: int, chunks: int, window: int, device: torch.device) -> Tensor:
        """Return where the steps of all chunks may look (batch * chunk or 1, 1, step, key)."""
        mask = local_mask(window, device)[None, None]
        if self.real is None:
            return mask
        # (batch, window) -> (batch, chunk, key): every other step is there
        real = torch.ones(batch, chunks, 2 * window, dtype=torch.bool, device=device)
        real[:, 0, :window] = self.real
        return mask & real.flatten(0, 1)[:, None, None]
