// SPDX-License-Identifier: MIT
/*
 * Perfetto's native form: a protobuf message Trace, which is its packets one behind the other. What is written of it is
 * little enough to need no library: varints, 64 bits fixed, and messages and strings with their length in front.
 *
 * A track is a TrackDescriptor, a slice two TrackEvents, its begin and its end. Names come once, in the packet that has
 * them first, and are numbers from then on; they hold for the whole file, which is one sequence of packets.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "trace_file.h"

/* Numbers of fields, from Perfetto's protos/perfetto/trace; they never change. */
enum {
	/* trace.proto */
	TRACE_PACKET = 1,
	/* trace_packet.proto */
	PACKET_TIMESTAMP = 8, /* ns */
	PACKET_SEQUENCE_ID = 10,
	PACKET_TRACK_EVENT = 11,
	PACKET_INTERNED_DATA = 12,
	PACKET_SEQUENCE_FLAGS = 13,
	PACKET_TRACK_DESCRIPTOR = 60,
	/* track_event/track_descriptor.proto */
	TRACK_UUID = 1,
	TRACK_NAME = 2,
	TRACK_PROCESS = 3,
	TRACK_PARENT = 5,
	TRACK_CHILD_ORDERING = 11,
	TRACK_RANK = 12,
	/* track_event/process_descriptor.proto */
	PROCESS_PID = 1,
	PROCESS_NAME = 6,
	/* track_event/track_event.proto */
	EVENT_ARG = 4,
	EVENT_TYPE = 9,
	EVENT_NAME_IID = 10,
	EVENT_TRACK = 11,
	EVENT_CATEGORY = 22,
	EVENT_NAME = 23,
	EVENT_FLOW = 47,
	EVENT_FLOW_END = 48,
	/* track_event/debug_annotation.proto */
	ARG_NAME_IID = 1,
	ARG_UINT = 3,
	ARG_STRING = 6,
	ARG_NAME = 10,
	/* interned_data/interned_data.proto, and EventName and DebugAnnotationName in the above */
	INTERNED_EVENT_NAME = 2,
	INTERNED_ARG_NAME = 3,
	NAME_IID = 1,
	NAME_TEXT = 2,
};

enum { SLICE_BEGIN = 1, SLICE_END = 2, INSTANT = 3 };
enum { ORDER_EXPLICIT = 3 };
enum { SEQUENCE_CLEARED = 1, SEQUENCE_NEEDS_STATE = 2 };

#define MESSAGE_MAX 4096u
#define NAMES_MAX   512u
#define NAME_MAX    48u
#define ROOT(pid)   (1000000u + (pid)) /* the track of a process */

struct message {
	size_t n;
	uint8_t bytes[MESSAGE_MAX];
};

struct name {
	uint32_t field; /* of InternedData; 0: none here */
	char text[NAME_MAX];
};

struct proto {
	struct name name[NAMES_MAX]; /* by hash; the place is 1 less than the number */
	uint32_t num_names;
	struct message interned; /* of the packet under construction */
};

static void bytes(struct trace_file *t, struct message *m, const void *p, size_t n)
{
	if (n > MESSAGE_MAX - m->n) {
		t->error = -EOVERFLOW;
		return;
	}
	memcpy(m->bytes + m->n, p, n);
	m->n += n;
}

static void varint(struct trace_file *t, struct message *m, uint64_t v)
{
	uint8_t buf[10];
	size_t n = 0;

	do {
		buf[n] = (uint8_t)(v & 0x7f) | (v > 0x7f ? 0x80 : 0);
		n++;
		v >>= 7;
	} while (v);
	bytes(t, m, buf, n);
}

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2 };

static void number(struct trace_file *t, struct message *m, uint32_t field, uint64_t v)
{
	varint(t, m, (uint64_t)field << 3 | WIRE_VARINT);
	varint(t, m, v);
}

static void fixed64(struct trace_file *t, struct message *m, uint32_t field, uint64_t v)
{
	uint8_t le[8];

	for (int i = 0; i < 8; i++)
		le[i] = (uint8_t)(v >> 8 * i);
	varint(t, m, (uint64_t)field << 3 | WIRE_FIXED64);
	bytes(t, m, le, sizeof(le));
}

static void blob(struct trace_file *t, struct message *m, uint32_t field, const void *p, size_t n)
{
	varint(t, m, (uint64_t)field << 3 | WIRE_BYTES);
	varint(t, m, n);
	bytes(t, m, p, n);
}

static void string(struct trace_file *t, struct message *m, uint32_t field, const char *s)
{
	blob(t, m, field, s, strlen(s));
}

static void message(struct trace_file *t, struct message *m, uint32_t field,
		    const struct message *sub)
{
	blob(t, m, field, sub->bytes, sub->n);
}

/* The number of a name, which this packet says when it is new; 0: there is no room, or it is long. */
static uint64_t intern(struct trace_file *t, uint32_t field, const char *text)
{
	struct proto *p = t->priv;
	uint32_t h = 2166136261u ^ field;
	struct message m;
	struct name *name;

	m.n = 0;
	if (strlen(text) >= NAME_MAX)
		return 0;
	for (const char *c = text; *c; c++)
		h = (h ^ (uint8_t)*c) * 16777619u;
	for (h %= NAMES_MAX; p->name[h].field; h = (h + 1) % NAMES_MAX)
		if (p->name[h].field == field && !strcmp(p->name[h].text, text))
			return h + 1;
	if (p->num_names == NAMES_MAX / 2)
		return 0;
	p->num_names++;
	name = &p->name[h];
	name->field = field;
	memcpy(name->text, text, strlen(text) + 1);
	number(t, &m, NAME_IID, h + 1);
	string(t, &m, NAME_TEXT, text);
	message(t, &p->interned, field, &m);
	return h + 1;
}

static void write_packet(struct trace_file *t, struct message *packet, uint32_t flags)
{
	struct proto *p = t->priv;
	struct message head;

	head.n = 0;
	number(t, packet, PACKET_SEQUENCE_ID, 1);
	number(t, packet, PACKET_SEQUENCE_FLAGS, flags);
	if (p->interned.n)
		message(t, packet, PACKET_INTERNED_DATA, &p->interned);
	p->interned.n = 0;
	varint(t, &head, TRACE_PACKET << 3 | WIRE_BYTES);
	varint(t, &head, packet->n);
	if (t->error)
		return;
	fwrite(head.bytes, 1, head.n, t->f);
	fwrite(packet->bytes, 1, packet->n, t->f);
}

static void proto_begin(struct trace_file *t)
{
	struct message packet;

	packet.n = 0;
	t->priv = calloc(1, sizeof(struct proto));
	if (!t->priv)
		t->error = -ENOMEM;
	else
		write_packet(t, &packet, SEQUENCE_CLEARED);
}

static void write_track(struct trace_file *t, const struct message *track)
{
	struct message packet;

	packet.n = 0;
	message(t, &packet, PACKET_TRACK_DESCRIPTOR, track);
	write_packet(t, &packet, SEQUENCE_NEEDS_STATE);
}

static void proto_process(struct trace_file *t, uint32_t pid, const char *name)
{
	struct message process, track;

	process.n = track.n = 0;
	if (t->error)
		return;
	number(t, &process, PROCESS_PID, pid);
	string(t, &process, PROCESS_NAME, name);
	number(t, &track, TRACK_UUID, ROOT(pid));
	message(t, &track, TRACK_PROCESS, &process);
	number(t, &track, TRACK_CHILD_ORDERING, ORDER_EXPLICIT);
	write_track(t, &track);
}

static void proto_track(struct trace_file *t, uint32_t pid, uint32_t id, const char *name,
			uint32_t rank)
{
	struct message track;

	track.n = 0;
	if (t->error)
		return;
	number(t, &track, TRACK_UUID, id);
	string(t, &track, TRACK_NAME, name);
	number(t, &track, TRACK_PARENT, ROOT(pid));
	number(t, &track, TRACK_RANK, rank);
	write_track(t, &track);
}

static void add_arg(struct trace_file *t, struct message *event, const struct trace_arg *a)
{
	uint64_t iid = intern(t, INTERNED_ARG_NAME, a->name);
	struct message m;

	m.n = 0;
	if (iid)
		number(t, &m, ARG_NAME_IID, iid);
	else
		string(t, &m, ARG_NAME, a->name);
	if (a->text)
		string(t, &m, ARG_STRING, a->text);
	else
		number(t, &m, ARG_UINT, a->value);
	message(t, event, EVENT_ARG, &m);
}

static void write_event(struct trace_file *t, uint64_t ps, const struct message *event)
{
	struct message packet;

	packet.n = 0;
	number(t, &packet, PACKET_TIMESTAMP, ps / 1000);
	message(t, &packet, PACKET_TRACK_EVENT, event);
	write_packet(t, &packet, SEQUENCE_NEEDS_STATE);
}

static void proto_slice(struct trace_file *t, const struct trace_slice *s)
{
	uint64_t iid = intern(t, INTERNED_EVENT_NAME, s->name);
	bool moment = s->start_ps == s->end_ps;
	struct message event, end;

	event.n = end.n = 0;
	number(t, &event, EVENT_TYPE, moment ? INSTANT : SLICE_BEGIN);
	number(t, &event, EVENT_TRACK, s->track);
	if (iid)
		number(t, &event, EVENT_NAME_IID, iid);
	else
		string(t, &event, EVENT_NAME, s->name);
	string(t, &event, EVENT_CATEGORY, "zhenwu");
	for (size_t i = 0; i < s->num_args; i++)
		add_arg(t, &event, &s->args[i]);
	if (s->flow_from)
		fixed64(t, &event, EVENT_FLOW, s->flow_from);
	if (s->flow_to)
		fixed64(t, &event, EVENT_FLOW_END, s->flow_to);
	write_event(t, s->start_ps, &event);
	if (moment)
		return;
	number(t, &end, EVENT_TYPE, SLICE_END);
	number(t, &end, EVENT_TRACK, s->track);
	write_event(t, s->end_ps, &end);
}

static void proto_end(struct trace_file *t)
{
	(void)t;
}

const struct trace_form trace_proto = {proto_begin, proto_process, proto_track, proto_slice,
				       proto_end};
