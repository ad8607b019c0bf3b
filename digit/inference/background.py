"""Stages of a pipeline that work at the same time, each in a thread of its own.

Decoding, detection and the network spend their time outside Python's lock, so threads
are enough. Called by `digit.inference.pipeline` and `command`.
"""

import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")

_END = object()


class _Raised:
    """An exception on its way from the stage's thread to the consumer."""

    def __init__(self, error: BaseException):
        self.error = error


class _Stage:
    """A thread that produces items into a queue until it is stopped."""

    def __init__(self, items: Iterator, depth: int):
        self._items = items
        self.waiting: queue.Queue = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._produce, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread at its next item."""
        self._stop.set()
        self._thread.join()

    def _produce(self) -> None:
        try:
            for item in self._items:
                self._put(item)
                if self._stop.is_set():
                    return
            self._put(_END)
        except BaseException as error:  # whatever it is, the consumer raises it
            self._put(_Raised(error))
        finally:
            self._items.close()

    def _put(self, item: object) -> None:
        """Wait until the consumer has room, or has stopped."""
        # A time limit, since a full queue must not hide that the consumer has stopped.
        while not self._stop.is_set():
            try:
                self.waiting.put(item, timeout=0.1)
                return
            except queue.Full:
                continue


def in_background(items: Iterator[Item], depth: int) -> Iterator[Item]:
    """The same items, produced ahead in another thread.

    An exception of the producer is raised here, after the items before it. When the
    consumer closes this generator or fails, the producer stops at its next item.

    Args:
        items: a generator.
        depth: how many finished items may wait.
    """
    # Whatever ends this generator, the thread ends with it.
    stage = _Stage(items, depth)
    try:
        while True:
            item = stage.waiting.get()
            if item is _END:
                return
            if isinstance(item, _Raised):
                raise item.error
            yield item
    finally:
        stage.stop()


@contextmanager
def core_for_the_detector() -> Iterator[None]:
    """One thread of torch fewer, for the stage that finds hands beside the network.

    On two cores that makes a folder or a video a third faster. A number of threads that
    the environment asks for (OMP_NUM_THREADS) stays.
    """
    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ or threads == 1:
        yield
        return
    torch.set_num_threads(threads - 1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
