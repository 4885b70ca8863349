"""What a wheel's own libraries say that its file name and METADATA do not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Facts read out of a wheel; each is None where it was not learnt.

    Args:
        architectures: the GPU architectures that torch was built for, spelt and ordered as
            ``torch.cuda.get_arch_list()`` prints them (``sm_70``, ``sm_90a``, ``compute_90``, ``gfx942``).
        glibc: the highest ``GLIBC_2.x`` symbol version that the wheel's own libraries need, as (2, x).
        unread: in words, why a fact was not learnt; None if everything that there is to learn was.
    """

    architectures: tuple[str, ...] | None = None
    glibc: tuple[int, int] | None = None
    unread: str | None = None
