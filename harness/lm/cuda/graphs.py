"""Capture of a decoding step in CUDA graphs: one a bucket, largest first, all in one pool. Only CUDA can run this."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Runs before capture, in which libraries choose kernels and allocate workspaces.
_WARM_UP = 2


def capture(
    step: Callable[[int], None], buckets: Iterable[int], device: torch.device, *, warm_up: Callable[[int], None]
) -> dict[int, torch.cuda.CUDAGraph]:
    """Return a graph of ``step(bucket)`` for each bucket.

    The largest comes first, so that the smaller ones find their memory in the pool: all graphs together take what that
    one takes. They may share it since none runs while another does, and what a step leaves is in static tensors.

    Args:
        step: reads and writes static tensors alone, and waits for nothing.
        buckets: its arguments.
        device: where it runs.
        warm_up: the same, run beforehand for each bucket.
    """
    sizes = sorted(buckets, reverse=True)
    with torch.cuda.device(device):
        stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch
        pool = torch.cuda.graph_pool_handle()
        stream.wait_stream(torch.cuda.current_stream())
        graphs = {}
        with torch.cuda.stream(stream):
            for size in sizes:
                for _ in range(_WARM_UP):
                    warm_up(size)
        stream.synchronize()
        for size in sizes:
            graph = torch.cuda.CUDAGraph()
            # by thread, since others of this process (a heartbeat) may ask the driver meanwhile
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                step(size)
            graphs[size] = graph
        torch.cuda.current_stream().wait_stream(stream)
    return graphs
