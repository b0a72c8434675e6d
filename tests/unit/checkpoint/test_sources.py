"""Who serves a file is asked for it, the last one that said so."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from spectrum_tui.core.checkpoint import sources
from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.sources import Pieces, is_here, served, source_of

TENSOR = Tensor(name="w", shape=(2,), dtype="F32", file="hub://there", start=0, end=8)


class Named:
    def read_into(self, tensor: Tensor, pieces: Pieces) -> None:
        """Read nothing."""


def test_the_last_serves_in_whatever_order_they_end() -> None:
    first, second = Named(), Named()
    assert not is_here(TENSOR)
    outer, inner = served([TENSOR.file], first), served([TENSOR.file, "other"], second)
    outer.__enter__()
    assert source_of(TENSOR) is first and is_here(TENSOR)
    inner.__enter__()
    assert source_of(TENSOR) is second
    outer.__exit__(None, None, None)  # of a scan that ends while a node's goes on
    assert source_of(TENSOR) is second
    inner.__exit__(None, None, None)
    assert source_of(TENSOR) is sources._LOCAL and not is_here(TENSOR)


def test_threads_that_begin_and_end_at_once_lose_no_source() -> None:
    before = sys.getswitchinterval()

    def work(_: int) -> int:
        mine, lost = Named(), 0
        for _ in range(1000):
            with served([TENSOR.file, "other"], mine):
                lost += mine not in sources._served.get(TENSOR.file, ())
        return lost

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert not sum(threads.map(work, range(4)))
    finally:
        sys.setswitchinterval(before)
    assert not sources._served
