"""Flags: yes or no for every row and channel, eight channels to a byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Flags"]


@dataclass(frozen=True)
class Flags:
    """Yes or no for every row and channel; read as a tensor of bool is.

    Parameters
    ----------
    bits : Tensor of shape (rows, number of channels / 8, rounded up), uint8
        Channel c is bit ``c % 8`` of byte ``c // 8``.
    number : int
        Number of channels.
    """

    bits: Tensor
    number: int

    @classmethod
    def of(cls, flags: Tensor) -> Flags:
        """Pack flags (rows, channel), bool."""
        number = flags.shape[-1]
        parts = flags.to(torch.uint8).split(8, dim=-1)
        bits = [(part << _bits(part.shape[-1], part)).sum(-1, dtype=torch.uint8) for part in parts]
        return cls(torch.stack(bits, dim=-1), number)

    @staticmethod
    def width(number: int) -> int:
        """Return how many bytes a row of so many channels takes."""
        return -(-number // 8)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and of channels."""
        return self.bits.shape[0], self.number

    def __getitem__(self, key: Any) -> Tensor:
        """Return the flags of rows, or of (rows, channels), as a tensor of bool."""
        rows, channels = key if isinstance(key, tuple) else (key, slice(None))
        bits = self.bits[rows]
        if not isinstance(channels, slice):
            channels = range(self.number)[channels]
            return (bits[..., channels // 8] >> channels % 8 & 1).bool()
        bit = _bits(self.number, bits)[channels]
        if self.number > 8:
            bits = bits.repeat_interleave(8, dim=-1)[..., : self.number][..., channels]
        return (bits >> bit & 1).bool()

    def __setitem__(self, rows: Any, flags: Tensor | bool) -> None:
        """Set all channels of rows: to flags (rows, channel), or all of them to one."""
        if isinstance(flags, bool):
            flags = torch.full((1, self.number), flags)
        self.bits[rows] = Flags.of(flags).bits

    def mark(self, rows: Any, channel: int) -> None:
        """Set a channel of rows, which may have any shape."""
        self.bits[torch.as_tensor(rows), channel // 8] |= 1 << channel % 8

    def to(self, device: str | torch.device) -> Flags:
        """Return the flags on a device."""
        return Flags(self.bits.to(device), self.number)

    def clone(self) -> Flags:
        """Return a copy."""
        return Flags(self.bits.clone(), self.number)

    def at(self, rows: Any) -> Flags:
        """Return a copy of rows."""
        return Flags(self.bits[rows], self.number)


def _bits(number: int, like: Tensor) -> Tensor:
    """Return which bit of its byte each of so many channels (channel,) is, uint8."""
    bits = torch.arange(min(number, 8), dtype=torch.uint8, device=like.device)
    return bits if number <= 8 else bits.repeat(Flags.width(number))[:number]
