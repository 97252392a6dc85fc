// SPDX-License-Identifier: MIT
#include "proto_message.h"

#include <string.h>

static void bytes(struct proto_message *m, const void *p, size_t n)
{
	if (n > PROTO_MESSAGE_MAX - m->n) {
		m->full = true;
		return;
	}
	memcpy(m->bytes + m->n, p, n);
	m->n += n;
}

void proto_clear(struct proto_message *m)
{
	m->n = 0;
	m->full = false;
}

void proto_varint(struct proto_message *m, uint64_t v)
{
	uint8_t buf[10];
	size_t n = 0;

	do {
		buf[n] = (uint8_t)(v & 0x7f) | (v > 0x7f ? 0x80 : 0);
		n++;
		v >>= 7;
	} while (v);
	bytes(m, buf, n);
}

void proto_number(struct proto_message *m, uint32_t field, uint64_t v)
{
	proto_varint(m, (uint64_t)field << 3 | PROTO_VARINT);
	proto_varint(m, v);
}

void proto_fixed64(struct proto_message *m, uint32_t field, uint64_t v)
{
	uint8_t le[8];

	for (int i = 0; i < 8; i++)
		le[i] = (uint8_t)(v >> 8 * i);
	proto_varint(m, (uint64_t)field << 3 | PROTO_FIXED64);
	bytes(m, le, sizeof(le));
}

void proto_blob(struct proto_message *m, uint32_t field, const void *p, size_t n)
{
	proto_varint(m, (uint64_t)field << 3 | PROTO_BYTES);
	proto_varint(m, n);
	bytes(m, p, n);
}

void proto_string(struct proto_message *m, uint32_t field, const char *s)
{
	proto_blob(m, field, s, strlen(s));
}

void proto_sub(struct proto_message *m, uint32_t field, const struct proto_message *sub)
{
	proto_blob(m, field, sub->bytes, sub->n);
	m->full |= sub->full;
}
