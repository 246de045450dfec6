"""The process that touches pixels: `python -m safelight.imaging.child`.

It reads one request after the other from stdin and answers on stdout until stdin ends, so that it does not
outlive its parent. Before a stranger's first byte is read it gives up what a decoder's bug could use: it can
open no file and no socket, write no file, and take no more memory and processor time than a picture needs.

An unforeseen failure ends the process: its parent sees that, and starts a fresh one.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
import time
from dataclasses import asdict
from typing import Any, BinaryIO

import pyvips
from pyvips.voperation import concurrency_set

from safelight.imaging import frame
from safelight.imaging.clean import clean
from safelight.imaging.render import examine
from safelight.imaging.rendition import NotAnImage, Rendition

MAX_MEMORY_BYTES = 2 << 30
MAX_CPU_SECONDS_PER_JOB = 60

_ALLOWED_LOADERS = ("VipsForeignLoadPng", "VipsForeignLoadJpeg", "VipsForeignLoadWebp", "VipsForeignLoadHeif")


def main() -> None:
    # The parent decides when this process ends; a signal to the whole group must not cut a picture in two.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.disable()  # libvips warns about strangers' files in strangers' words
    requests, replies = _take_pipes()
    _tame_vips()
    _drop_rights()
    while (request := frame.read(requests)) is not None:
        _allow_cpu_for_one_job()
        replies.writelines(frame.encode(*_answer(*request)))
        replies.flush()


def _answer(header: dict[str, Any], body: bytes) -> frame.Frame:
    try:
        if header.get("clean"):
            cleaned = asdict(clean(body))
            data = cleaned.pop("data")
            return {"cleaned": cleaned}, data
        verified, rendered = examine(body, [Rendition(**fields) for fields in header["renditions"]])
    except NotAnImage as refusal:
        return {"refused": {"code": refusal.code, "message": refusal.message}}, b""
    outputs = [asdict(one) for one in rendered]
    bodies = [output.pop("data") for output in outputs]
    for output, data in zip(outputs, bodies, strict=True):
        output["length"] = len(data)
    return {"verified": asdict(verified), "rendered": outputs}, b"".join(bodies)


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keeps stdout to ourselves, so that a library which prints cannot break a frame."""
    replies = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return sys.stdin.buffer, os.fdopen(replies, "wb")


def _tame_vips() -> None:
    concurrency_set(1)
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in _ALLOWED_LOADERS:
        pyvips.operation_block_set(loader, False)


def _drop_rights() -> None:
    lowest_free_fd = os.dup(0)
    os.close(lowest_free_fd)
    for limit, bound in (
        (resource.RLIMIT_NOFILE, lowest_free_fd),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (bound, bound))
    if sys.platform == "linux":  # macOS maps more than this before the first line runs
        bound = _at_most_inherited(resource.RLIMIT_AS, MAX_MEMORY_BYTES)
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def _allow_cpu_for_one_job() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    bound = int(time.process_time()) + MAX_CPU_SECONDS_PER_JOB
    resource.setrlimit(resource.RLIMIT_CPU, (_at_most_inherited(resource.RLIMIT_CPU, bound), hard))


def _at_most_inherited(limit: int, bound: int) -> int:
    _, hard = resource.getrlimit(limit)
    return bound if hard == resource.RLIM_INFINITY else min(bound, hard)


if __name__ == "__main__":
    main()
