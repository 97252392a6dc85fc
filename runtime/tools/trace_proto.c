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

#include "proto_message.h"
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
	TRACK_COUNTER = 8,
	TRACK_CHILD_ORDERING = 11,
	TRACK_RANK = 12,
	/* track_event/counter_descriptor.proto */
	COUNTER_UNIT_NAME = 6,
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
	EVENT_COUNTER_VALUE = 44, /* double */
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

enum { SLICE_BEGIN = 1, SLICE_END = 2, INSTANT = 3, COUNTER = 4 };
enum { ORDER_EXPLICIT = 3 };
enum { SEQUENCE_CLEARED = 1, SEQUENCE_NEEDS_STATE = 2 };

#define NAMES_MAX 512u
#define NAME_MAX  48u
#define ROOT(pid) (1000000u + (pid)) /* the track of a process */

struct name {
	uint32_t field; /* of InternedData; 0: none here */
	char text[NAME_MAX];
};

struct proto {
	struct name name[NAMES_MAX]; /* by hash; the place is 1 less than the number */
	uint32_t num_names;
	struct proto_message interned; /* of the packet under construction */
};

/* The number of a name, which this packet says when it is new; 0: there is no room, or it is long. */
static uint64_t intern(struct trace_file *t, uint32_t field, const char *text)
{
	struct proto *p = t->priv;
	uint32_t h = 2166136261u ^ field;
	struct proto_message m;
	struct name *name;

	proto_clear(&m);
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
	proto_number(&m, NAME_IID, h + 1);
	proto_string(&m, NAME_TEXT, text);
	proto_sub(&p->interned, field, &m);
	return h + 1;
}

static void write_packet(struct trace_file *t, struct proto_message *packet, uint32_t flags)
{
	struct proto *p = t->priv;
	struct proto_message head;

	proto_clear(&head);
	proto_number(packet, PACKET_SEQUENCE_ID, 1);
	proto_number(packet, PACKET_SEQUENCE_FLAGS, flags);
	if (p->interned.n)
		proto_sub(packet, PACKET_INTERNED_DATA, &p->interned);
	proto_clear(&p->interned);
	proto_varint(&head, TRACE_PACKET << 3 | PROTO_BYTES);
	proto_varint(&head, packet->n);
	if (packet->full)
		t->error = -EOVERFLOW;
	if (t->error)
		return;
	fwrite(head.bytes, 1, head.n, t->f);
	fwrite(packet->bytes, 1, packet->n, t->f);
}

static void proto_begin(struct trace_file *t)
{
	struct proto_message packet;

	proto_clear(&packet);
	t->priv = calloc(1, sizeof(struct proto));
	if (!t->priv)
		t->error = -ENOMEM;
	else
		write_packet(t, &packet, SEQUENCE_CLEARED);
}

static void write_track(struct trace_file *t, const struct proto_message *track)
{
	struct proto_message packet;

	proto_clear(&packet);
	proto_sub(&packet, PACKET_TRACK_DESCRIPTOR, track);
	write_packet(t, &packet, SEQUENCE_NEEDS_STATE);
}

static void proto_process(struct trace_file *t, uint32_t pid, const char *name)
{
	struct proto_message process, track;

	proto_clear(&process);
	proto_clear(&track);
	if (t->error)
		return;
	proto_number(&process, PROCESS_PID, pid);
	proto_string(&process, PROCESS_NAME, name);
	proto_number(&track, TRACK_UUID, ROOT(pid));
	proto_sub(&track, TRACK_PROCESS, &process);
	proto_number(&track, TRACK_CHILD_ORDERING, ORDER_EXPLICIT);
	write_track(t, &track);
}

static void proto_track(struct trace_file *t, uint32_t pid, uint32_t id, const char *name,
			uint32_t rank)
{
	struct proto_message track;

	proto_clear(&track);
	if (t->error)
		return;
	proto_number(&track, TRACK_UUID, id);
	proto_string(&track, TRACK_NAME, name);
	proto_number(&track, TRACK_PARENT, ROOT(pid));
	proto_number(&track, TRACK_RANK, rank);
	write_track(t, &track);
}

static void add_arg(struct trace_file *t, struct proto_message *event, const struct trace_arg *a)
{
	uint64_t iid = intern(t, INTERNED_ARG_NAME, a->name);
	struct proto_message m;

	proto_clear(&m);
	if (iid)
		proto_number(&m, ARG_NAME_IID, iid);
	else
		proto_string(&m, ARG_NAME, a->name);
	if (a->text)
		proto_string(&m, ARG_STRING, a->text);
	else
		proto_number(&m, ARG_UINT, a->value);
	proto_sub(event, EVENT_ARG, &m);
}

static void write_event(struct trace_file *t, uint64_t ps, const struct proto_message *event)
{
	struct proto_message packet;

	proto_clear(&packet);
	proto_number(&packet, PACKET_TIMESTAMP, ps / 1000);
	proto_sub(&packet, PACKET_TRACK_EVENT, event);
	write_packet(t, &packet, SEQUENCE_NEEDS_STATE);
}

static void proto_slice(struct trace_file *t, const struct trace_slice *s)
{
	uint64_t iid = intern(t, INTERNED_EVENT_NAME, s->name);
	bool moment = s->start_ps == s->end_ps;
	struct proto_message event, end;

	proto_clear(&event);
	proto_clear(&end);
	proto_number(&event, EVENT_TYPE, moment ? INSTANT : SLICE_BEGIN);
	proto_number(&event, EVENT_TRACK, s->track);
	if (iid)
		proto_number(&event, EVENT_NAME_IID, iid);
	else
		proto_string(&event, EVENT_NAME, s->name);
	proto_string(&event, EVENT_CATEGORY, "zhenwu");
	for (size_t i = 0; i < s->num_args; i++)
		add_arg(t, &event, &s->args[i]);
	if (s->flow_from)
		proto_fixed64(&event, EVENT_FLOW, s->flow_from);
	if (s->flow_to)
		proto_fixed64(&event, EVENT_FLOW_END, s->flow_to);
	write_event(t, s->start_ps, &event);
	if (moment)
		return;
	proto_number(&end, EVENT_TYPE, SLICE_END);
	proto_number(&end, EVENT_TRACK, s->track);
	write_event(t, s->end_ps, &end);
}

static void proto_counter(struct trace_file *t, uint32_t pid, uint32_t id, const char *name,
			  const char *unit, uint32_t rank)
{
	struct proto_message track, counter;

	proto_clear(&track);
	proto_clear(&counter);
	if (t->error)
		return;
	proto_string(&counter, COUNTER_UNIT_NAME, unit);
	proto_number(&track, TRACK_UUID, id);
	proto_string(&track, TRACK_NAME, name);
	proto_number(&track, TRACK_PARENT, ROOT(pid));
	proto_sub(&track, TRACK_COUNTER, &counter);
	proto_number(&track, TRACK_RANK, rank);
	write_track(t, &track);
}

static void proto_value(struct trace_file *t, uint32_t track, uint64_t ps, uint64_t nano)
{
	double value = (double)nano / 1e9;
	struct proto_message event;
	uint64_t bits;

	proto_clear(&event);
	memcpy(&bits, &value, sizeof(bits));
	proto_number(&event, EVENT_TYPE, COUNTER);
	proto_number(&event, EVENT_TRACK, track);
	proto_fixed64(&event, EVENT_COUNTER_VALUE, bits);
	write_event(t, ps, &event);
}

static void proto_end(struct trace_file *t)
{
	(void)t;
}

const struct trace_form trace_proto = {proto_begin,   proto_process, proto_track, proto_slice,
				       proto_counter, proto_value,   proto_end};
