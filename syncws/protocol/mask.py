"""Masking (RFC 6455, section 5.3): the same operation masks and unmasks.

Pure functions; any thread may call them. :func:`apply_mask` takes a piece of a payload, :func:`masked_slice` a slice of
a buffer, which it copies once, and :func:`unmasked` a slice that has its key in front. A :class:`Gathering` is a
payload that arrives in pieces. They are those of the extension module ``_mask``, or of ``_mask_pure`` if that has not
been built. One that has been built and cannot be loaded is an error.
"""

from __future__ import annotations

try:
    from ._mask import Gathering, apply_mask, masked_slice, unmasked
except ModuleNotFoundError:
    from ._mask_pure import Gathering, apply_mask, masked_slice, unmasked  # type: ignore[assignment]

__all__ = ["Gathering", "apply_mask", "masked_slice", "unmasked"]
