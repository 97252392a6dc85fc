#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Packs a linked firmware ELF into an image with the header of uapi/zhenwu/zw_fw.h."""
import argparse
import hashlib
import struct
import sys

MAGIC, HEADER_VERSION, HEADER_SIZE, MAX_SEGMENTS = 0x5746575A, 2, 240, 4
SHA_OFFSET = 80
PT_LOAD = 1


def segments_of(elf):
    """Entry and (paddr, bytes, memsz) of every PT_LOAD of a little-endian 64-bit ELF."""
    if elf[:6] != b"\x7fELF\x02\x01":
        sys.exit("mkimage: not a little-endian 64-bit ELF")
    entry, phoff = struct.unpack_from("<QQ", elf, 24)
    phentsize, phnum = struct.unpack_from("<HH", elf, 54)
    segs = []
    for i in range(phnum):
        p_type, _, off, _, paddr, filesz, memsz, _ = struct.unpack_from(
            "<IIQQQQQQ", elf, phoff + i * phentsize)
        if p_type == PT_LOAD and memsz:
            segs.append((paddr, elf[off:off + filesz], memsz))
    return entry, segs


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("elf")
    ap.add_argument("image")
    ap.add_argument("--abi", required=True, type=lambda s: int(s, 0))
    ap.add_argument("--fw-version", required=True, type=lambda s: int(s, 0))
    ap.add_argument("--min-minor", default=0, type=lambda s: int(s, 0))
    ap.add_argument("--caps", default=0, type=lambda s: int(s, 0))
    ap.add_argument("--build", default="")
    a = ap.parse_args()
    with open(a.elf, "rb") as f:
        entry, segs = segments_of(f.read())
    if not 1 <= len(segs) <= MAX_SEGMENTS:
        sys.exit(f"mkimage: {len(segs)} segments, 1..{MAX_SEGMENTS} fit")
    body, table, pos = b"", b"", HEADER_SIZE
    for addr, data, memsz in segs:
        table += struct.pack("<IIIIQQ", pos, len(data), memsz, 0, addr, 0)
        data += bytes(-len(data) % 16)
        body += data
        pos += len(data)
    table += bytes(32 * (MAX_SEGMENTS - len(segs)))
    head = struct.pack("<8IQ2I32s32s", MAGIC, HEADER_VERSION, HEADER_SIZE, pos, a.abi,
                       a.fw_version, len(segs), a.min_minor, entry, a.caps, 0, a.build.encode()[:31], bytes(32))
    image = bytearray(head + table + body)
    image[SHA_OFFSET:SHA_OFFSET + 32] = hashlib.sha256(image).digest()
    with open(a.image, "wb") as f:
        f.write(image)


if __name__ == "__main__":
    main()
