# SPDX-License-Identifier: MIT
"""What the tests of GGUF files share. Their first argument is the tool that is tested, the second the models."""

import os
import subprocess
import sys

import gguf_file
import to_gguf
from checkpoint import write_json
from tap import ok

TOOL, MODELS = sys.argv[1:3]
IDS = [5, 17, 300, 2, 99, 41, 7, 8]


def stored(model):
    return os.path.join(MODELS, model)


def run(model, *args):
    return subprocess.run([TOOL, "--device", "sim", "--quiet", "-m", model, *args],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)


class Logits:
    """The logits of some ids, as zw-run writes them."""

    def __init__(self, tmp):
        self.ids = os.path.join(tmp, "ids.json")
        self.out = os.path.join(tmp, "logits.npy")
        write_json(IDS, self.ids)

    def of(self, model, *args):
        p = run(model, "--prompt-ids", self.ids, "--max-tokens", "4", "--temperature", "0",
                "--logits-out", self.out, *args)
        if p.returncode:
            return p.stderr.decode()
        with open(self.out, "rb") as f:
            return f.read() + p.stdout


def captured(tmp, model):
    """Metadata and tensors of a model as they would be written."""
    got = {}
    keep = gguf_file.write
    gguf_file.write = lambda path, keys, tensors: got.update(keys=keys, tensors=tensors)
    try:
        to_gguf.convert(stored(model), os.path.join(tmp, "unused"))
    finally:
        gguf_file.write = keep
    return got["keys"], got["tensors"]


def skipped(said):
    """Whether that is a missing firmware image, which is told."""
    missing = isinstance(said, str) and "firmware" in said
    if missing:
        ok(True, "runs on sim # SKIP no firmware image: " + said.strip())
    return missing
