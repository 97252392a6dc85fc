#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The bars of scripts/bench --only-batches: rows that meet each by a little, and that miss each by a little."""

import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "models")]
import batches  # noqa: E402
import tap  # noqa: E402

CONFIG = {"hidden_size": 8, "head_dim": 4, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
          "vocab_size": 100, "intermediate_size": 16, "num_experts": 32, "num_experts_per_tok": 2, "moe_intermediate_size": 4}


def rows():
    """One of each shape, format and batch, all of them just good enough."""
    out = []
    for _, shapes in batches.by_profile():
        for shape, name in shapes:
            for batch in batches.BATCHES:
                read = 1000 * batches.FORMATS[name][0]
                row = {"shape": shape, "format": name, "batch": batch, "decode": 10 * 2000 / read * 0.851, "hbm_read": read,
                       "must_read": read / 1.019, "weight_bytes": 1000, "kv_bytes": 100, "peak_bytes": 1209}
                if name == "bf16":
                    row["decode"] = 10
                if batch == 8:
                    row["decode"] *= 6.01
                if batch == 1:
                    row["prefill"] = 181 if name == "int8" else 100
                row["vm"] = {"decode": row["decode"] * 0.951, "hbm_read": read}
                out.append(row)
    return out


def missed(change=None, vnni=True):
    """What misses its bar after a change of the rows."""
    all_rows = rows()
    for r in all_rows:
        if change:
            change((r["shape"], r["format"], r["batch"]), r)
    return [what for what, figure, limit in batches.judge(all_rows, vnni) if limit and not batches.met(figure, limit)]


def only(key, change):
    return lambda at, row: change(row) if at == key else None


def main():
    dense, moe = batches.DENSE, batches.EXPERTS
    some = [s for _, shapes in batches.by_profile(["int8", moe, "fp8"]) for s in shapes]
    tap.ok(some == [(dense, "int8"), (moe, "bf16"), (dense, "fp8")], "some formats only", some)
    tap.ok(not missed(), "rows that are good enough meet all bars", missed())
    bars = [limit for _, _, limit in batches.judge(rows(), True)]
    tap.ok(len(bars) == 3 + 1 + 7 + 3 + 3 * 24 and None not in bars, "each figure has its bar", bars)
    for name in ("int8-wo", "int8", "int4-gptq"):
        got = missed(only((dense, name, 1), lambda r: r.update(decode=r["decode"] * 0.99, vm=None)))
        tap.ok(got == [f"{name} decode / bf16, of the ratio of bytes read"], f"{name} decode that is too slow", got)
    slow = only((dense, "int8", 1), lambda r: r.update(prefill=179))
    tap.ok(missed(slow) == ["int8 prefill / bf16, 512 tokens"], "INT8 prefill that is too slow", missed(slow))
    tap.ok(not missed(slow, False), "which is no miss without VNNI")
    for name in batches.FORMATS:
        got = missed(only((dense, name, 8), lambda r: r.update(decode=r["decode"] * 0.99, vm=None)))
        tap.ok(got == [f"{name} decode, batch 8 / batch 1"], f"{name} decode of eight that is too slow", got)
    for batch in batches.BATCHES:
        got = missed(only((moe, "bf16", batch), lambda r: r.update(hbm_read=r["hbm_read"] * 1.01, vm=None)))
        tap.ok(got == [f"{moe}, batch {batch}: bytes read / of what is hit"], f"{batch}: bytes of experts that are not hit", got)
    got = missed(only((moe, "bf16", 8), lambda r: r["vm"].update(decode=r["decode"] * 0.949)))
    tap.ok(got == [f"{moe}, bf16, batch 8: decode in the VM / host"], "a VM that is too slow", got)
    got = missed(only((moe, "bf16", 8), lambda r: r["vm"].update(hbm_read=r["hbm_read"] - 1)))
    tap.ok(got == [f"{moe}, bf16, batch 8: bytes read in the VM / host"], "a VM whose device reads something else", got)
    got = missed(only((dense, "fp8", 64), lambda r: r.update(peak_bytes=1211)))
    tap.ok(got == [f"{dense}, fp8, batch 64: memory / (weights + KV)"], "too much memory", got)

    # By hand: 3 layers, of each q and o 8 x 16, k and v 8 x 8, a router 8 x 32; experts of 3 x 8 x 4; a head 8 x 100; K and V.
    matrices, head, cache = 3 * (2 * 8 * 16 + 2 * 8 * 8 + 8 * 32), 800, 2 * 2 * 5 * 20 * 8 * 3
    flops, read = batches.work(CONFIG, 5, 20, 2, 7)
    tap.ok(read == 2 * (matrices + 7 * 96) + 2 * head + cache, "the bytes of 7 experts that are hit", read)
    tap.ok(flops == 5 * 2 * (matrices + 3 * 2 * 96 + head + 3 * 2 * 20 * 16), "and the operations of 2 for each token", flops)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
