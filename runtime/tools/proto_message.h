/* SPDX-License-Identifier: MIT */
/*
 * Messages of protobuf (https://protobuf.dev/programming-guides/encoding), as they are written. What a message has no room
 * for is not in it, and it says so by `full`, as does each that it is put into: asking the outermost is enough.
 */
#ifndef ZW_PROTO_MESSAGE_H
#define ZW_PROTO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTO_MESSAGE_MAX 4096u

enum { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2 };

struct proto_message {
	size_t n;
	bool full;
	uint8_t bytes[PROTO_MESSAGE_MAX];
};

void proto_clear(struct proto_message *m);
void proto_varint(struct proto_message *m, uint64_t v);
/* Fields. */
void proto_number(struct proto_message *m, uint32_t field, uint64_t v);
void proto_fixed64(struct proto_message *m, uint32_t field, uint64_t v);
void proto_blob(struct proto_message *m, uint32_t field, const void *p, size_t n);
void proto_string(struct proto_message *m, uint32_t field, const char *s);
void proto_sub(struct proto_message *m, uint32_t field, const struct proto_message *sub);

#endif
