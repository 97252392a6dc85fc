/* SPDX-License-Identifier: MIT */
#ifndef ZW_PACKET_TABLE_H
#define ZW_PACKET_TABLE_H

#include <stdio.h>

/* The packets of the device ABI as a table in Markdown, the one in Documentation/device/packets.md. */
void print_packet_table(FILE *out);

#endif
