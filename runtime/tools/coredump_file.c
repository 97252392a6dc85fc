// SPDX-License-Identifier: MIT
#include "coredump_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "zhenwu/zhenwu.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_queue.h"
#include "zhenwu/zw_regs.h"

#define HEADER    "zhenwu-coredump "
#define LOG_LINE  "|"
#define WORD_LINE 16u /* bytes of memory in a line */

/* "key: value", with the memory that follows it; or a line of the log, whose key is LOG_LINE. */
struct entry {
	const char *key, *value;
	uint8_t *data;
	size_t bytes, room;
};

struct section {
	const char *name;
	size_t first, end; /* of the entries */
};

struct coredump {
	char *text; /* cut into the strings below */
	struct entry *entries;
	size_t num_entries, room_entries;
	struct section *sections; /* [0]: what comes before the first */
	size_t num_sections, room_sections;
};

/* -- reading -------------------------------------------------------------------------------------- */

struct parser {
	struct coredump *dump;
	struct zw_error *err;
	size_t line; /* from 1 on */
};

__attribute__((format(printf, 2, 3))) static int bad(struct parser *p, const char *fmt, ...)
{
	char what[sizeof(p->err->msg) - 32];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(p->err->msg, sizeof(p->err->msg), "line %zu: %s", p->line, what);
	return -EINVAL;
}

static bool is_key(const char *s, size_t len)
{
	return len && len < 64 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") >= len;
}

/* Room for one more, or false. */
static bool grow(void **array, size_t *room, size_t count, size_t size)
{
	size_t want = *room ? *room * 2 : 64;
	void *p;

	if (count < *room)
		return true;
	p = realloc(*array, want * size);
	if (!p)
		return false;
	*array = p;
	*room = want;
	return true;
}

static int add_section(struct parser *p, const char *name)
{
	struct coredump *d = p->dump;
	void *sections = d->sections;

	for (size_t i = 0; i < d->num_sections; i++)
		if (!strcmp(d->sections[i].name, name))
			return bad(p, "section %s comes twice", name);
	/* Compared with each other: a dump has a dozen. */
	if (d->num_sections >= 64)
		return bad(p, "more than 64 sections");
	if (!grow(&sections, &d->room_sections, d->num_sections, sizeof(*d->sections)))
		return -ENOMEM;
	d->sections = sections;
	d->sections[d->num_sections++] = (struct section){name, d->num_entries, d->num_entries};
	return 0;
}

static int add_entry(struct parser *p, const char *key, const char *value)
{
	struct coredump *d = p->dump;
	void *entries = d->entries;

	if (!grow(&entries, &d->room_entries, d->num_entries, sizeof(*d->entries)))
		return -ENOMEM;
	d->entries = entries;
	d->entries[d->num_entries++] = (struct entry){.key = key, .value = value};
	d->sections[d->num_sections - 1].end = d->num_entries;
	return 0;
}

/* " 000010 00000000 00000000 00000000 00000000": memory of the entry before. */
static int add_words(struct parser *p, const char *line)
{
	const struct section *s = &p->dump->sections[p->dump->num_sections - 1];
	struct entry *e;
	const char *at = line + 1;
	uint32_t w[4];
	size_t offset;
	char *end;

	if (s->first == s->end || !strcmp(p->dump->entries[s->end - 1].key, LOG_LINE))
		return bad(p, "memory that belongs to nothing");
	e = &p->dump->entries[s->end - 1];
	if (strspn(line, " 0123456789abcdef") != strlen(line) || strlen(line) > 64)
		return bad(p, "not a line of memory");
	offset = strtoull(at, &end, 16);
	if (end == at || offset != e->bytes)
		return bad(p, "memory at %zx where %zx is next", offset, e->bytes);
	for (int i = 0; i < 4; i++) {
		at = end;
		if (strspn(at, " ") != 1 || strspn(at + 1, "0123456789abcdef") != 8)
			return bad(p, "not four words of eight digits");
		w[i] = (uint32_t)strtoul(at, &end, 16);
	}
	if (*end)
		return bad(p, "more than four words");
	if (e->bytes + WORD_LINE > e->room) {
		size_t room = e->room ? e->room * 2 : 256;
		uint8_t *data = realloc(e->data, room);

		if (!data)
			return -ENOMEM;
		e->data = data;
		e->room = room;
	}
	for (int i = 0; i < 4; i++) {
		for (int b = 0; b < 4; b++)
			e->data[e->bytes++] = (uint8_t)(w[i] >> 8 * b);
	}
	return 0;
}

static int parse_line(struct parser *p, char *line)
{
	size_t len = strlen(line);
	char *colon;

	if (line[0] == ' ')
		return add_words(p, line);
	if (line[0] == LOG_LINE[0])
		return add_entry(p, LOG_LINE, line + 1);
	if (line[0] == '[') {
		if (len < 3 || line[len - 1] != ']' || !is_key(line + 1, len - 2))
			return bad(p, "not the head of a section");
		line[len - 1] = '\0';
		return add_section(p, line + 1);
	}
	colon = strstr(line, ": ");
	if (!colon || !is_key(line, (size_t)(colon - line)))
		return bad(p, "neither \"key: value\" nor the head of a section, memory or log");
	*colon = '\0';
	return add_entry(p, line, colon + 2);
}

static int parse_header(struct parser *p, const char *line)
{
	char *end;
	unsigned long version;

	if (strncmp(line, HEADER, strlen(HEADER)))
		return bad(p, "not a coredump of a Zhenwu device");
	version = strtoul(line + strlen(HEADER), &end, 10);
	if (end == line + strlen(HEADER) || *end)
		return bad(p, "no version");
	if (version != COREDUMP_VERSION)
		return bad(p, "version %lu; this tool reads version %d", version, COREDUMP_VERSION);
	return add_section(p, "");
}

static int parse(struct parser *p, size_t len)
{
	char *line = p->dump->text, *stop = line + len;
	int ret = 0;

	while (!ret && line < stop) {
		char *end = memchr(line, '\n', (size_t)(stop - line));

		p->line++;
		if (!end)
			return bad(p, "cut off");
		for (const char *c = line; c < end; c++)
			if (*c < ' ' || *c > '~')
				return bad(p, "byte 0x%02x is no text", (unsigned char)*c);
		*end = '\0';
		if (p->line == 1)
			ret = parse_header(p, line);
		else if (!strcmp(line, "[end]"))
			return end + 1 == stop ? 0 : bad(p, "there is more behind the end");
		else
			ret = parse_line(p, line);
		line = end + 1;
	}
	if (!ret) {
		p->line++;
		ret = bad(p, p->line == 1 ? "empty" : "cut off: no [end]");
	}
	return ret;
}

/* -- finding -------------------------------------------------------------------------------------- */

static const struct section *find_section(const struct coredump *d, const char *name)
{
	for (size_t i = 0; i < d->num_sections; i++)
		if (!strcmp(d->sections[i].name, name))
			return &d->sections[i];
	return NULL;
}

static const struct entry *find(const struct coredump *d, const char *section, const char *key)
{
	const struct section *s = find_section(d, section);

	for (size_t i = s ? s->first : 0; s && i < s->end; i++)
		if (!strcmp(d->entries[i].key, key))
			return &d->entries[i];
	return NULL;
}

static const char *text(const struct coredump *d, const char *section, const char *key)
{
	const struct entry *e = find(d, section, key);

	return e ? e->value : "?";
}

/* A number, decimal or with 0x; false when there is none. */
static bool number(const struct coredump *d, const char *section, const char *key, uint64_t *value)
{
	const struct entry *e = find(d, section, key);
	char *end;

	if (!e || !(*e->value >= '0' && *e->value <= '9'))
		return false;
	errno = 0;
	*value = strtoull(e->value, &end, strncmp(e->value, "0x", 2) ? 10 : 16);
	return !errno && !*end;
}

static uint64_t number_or_0(const struct coredump *d, const char *section, const char *key)
{
	uint64_t value;

	return number(d, section, key, &value) ? value : 0;
}

/* What the commands say of themselves has to be what is there. */
static int check_commands(struct parser *p)
{
	const struct coredump *d = p->dump;
	const struct entry *e = find(d, "commands", "taken");
	uint64_t taken, bytes;

	if (!find_section(d, "commands"))
		return 0;
	if (!number(d, "commands", "taken", &taken) || !number(d, "commands", "bytes", &bytes) ||
	    taken > bytes || taken > e->bytes || e->bytes - taken >= WORD_LINE) {
		snprintf(p->err->msg, sizeof(p->err->msg),
			 "section commands does not hold the bytes it says");
		return -EINVAL;
	}
	return 0;
}

int coredump_parse(const char *in, size_t len, struct coredump **out, struct zw_error *err)
{
	struct coredump *d = NULL;
	struct parser p = {.err = err};
	int ret;

	if (len > COREDUMP_MAX_BYTES) {
		snprintf(err->msg, sizeof(err->msg), "longer than %u bytes", COREDUMP_MAX_BYTES);
		return -EFBIG;
	}
	d = calloc(1, sizeof(*d));
	if (d)
		d->text = malloc(len + 1);
	if (!d || !d->text) {
		free(d);
		snprintf(err->msg, sizeof(err->msg), "out of memory");
		return -ENOMEM;
	}
	memcpy(d->text, in, len);
	d->text[len] = '\0';
	p.dump = d;
	ret = parse(&p, len);
	if (!ret)
		ret = check_commands(&p);
	if (ret == -ENOMEM)
		snprintf(err->msg, sizeof(err->msg), "out of memory");
	if (ret)
		coredump_free(d);
	else
		*out = d;
	return ret;
}

void coredump_free(struct coredump *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->num_entries; i++)
		free(d->entries[i].data);
	free(d->entries);
	free(d->sections);
	free(d->text);
	free(d);
}

/* -- showing -------------------------------------------------------------------------------------- */

static const char *const boot_names[] = {"idle",  "loading", "running",
					 "ready", "failed",  "halted by a trap"};
static const char *const queue_names[] = {"free",    "idle",      "ready",    "running",
					  "blocked", "suspended", "in error", "draining"};

static const char *name_of(const char *const *names, size_t count, uint64_t i)
{
	return i < count ? names[i] : "unknown";
}

static const char *msg_name(uint32_t type)
{
	static const struct {
		uint32_t type;
		const char *name;
	} names[] = {
		{ZW_MSG_PING, "ping"},
		{ZW_MSG_QUERY_FW, "query_fw"},
		{ZW_MSG_SET_VM, "set_vm"},
		{ZW_MSG_CLEAR_VM, "clear_vm"},
		{ZW_MSG_TLB_INVALIDATE, "tlb_invalidate"},
		{ZW_MSG_CREATE_QUEUE, "create_queue"},
		{ZW_MSG_DESTROY_QUEUE, "destroy_queue"},
		{ZW_MSG_SUSPEND_QUEUE, "suspend_queue"},
		{ZW_MSG_RESUME_QUEUE, "resume_queue"},
		{ZW_MSG_QUERY_QUEUE, "query_queue"},
		{ZW_MSG_SCRUB_HBM, "scrub_hbm"},
		{ZW_MSG_TELEMETRY, "telemetry"},
		{ZW_MSG_EVENTS, "events"},
		{ZW_MSG_EVENT_ECC, "event_ecc"},
		{ZW_MSG_EVENT_LINK, "event_link"},
		{ZW_MSG_EVENT_THROTTLE, "event_throttle"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].type == type)
			return names[i].name;
	return "unknown";
}

static const char *reason_text(uint32_t status, uint32_t reason)
{
	return status == ZW_JOB_FAULT || status == ZW_JOB_ECC ? zw_fault_name(reason)
							      : zw_reason_name(reason);
}

static void print_head(const struct coredump *d, FILE *out)
{
	uint64_t ns = number_or_0(d, "", "time_ns");
	time_t seconds = (time_t)(ns / 1000000000);
	char when[64] = "?";
	struct tm tm;

	if (gmtime_r(&seconds, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
	fprintf(out, "Zhenwu device %s failed at %s: %s", text(d, "", "pci"), when,
		text(d, "", "cause"));
	if (strcmp(text(d, "", "reset_reason"), "none"))
		fprintf(out, ", %s", text(d, "", "reset_reason"));
	fprintf(out, "\n  kernel %s, driver %s, %s, ABI %s, firmware %s\n", text(d, "", "kernel"),
		text(d, "", "driver"), text(d, "device", "profile"), text(d, "device", "abi"),
		text(d, "device", "firmware"));
}

/* A section as it is, for what needs no explanation and for what this tool does not know. */
static void print_plain(const struct coredump *d, const struct section *s, FILE *out)
{
	fprintf(out, "\n%s\n", s->name);
	for (size_t i = s->first; i < s->end; i++) {
		const struct entry *e = &d->entries[i];

		if (!strcmp(e->key, LOG_LINE))
			fprintf(out, "  | %s\n", e->value);
		else
			fprintf(out, "  %-16s %s\n", e->key, e->value);
		for (size_t at = 0; at < e->bytes; at++)
			fprintf(out, "%s%02x%s", at % WORD_LINE ? " " : "    ", e->data[at],
				at % WORD_LINE == WORD_LINE - 1 ? "\n" : "");
	}
}

static void print_registers(const struct coredump *d, const struct section *s, FILE *out)
{
	uint64_t v;

	print_plain(d, s, out);
	if (number(d, s->name, "magic", &v) && v != ZW_MAGIC)
		fprintf(out, "  -> the device does not answer\n");
	if (number(d, s->name, "boot_status", &v))
		fprintf(out, "  -> the firmware is %s\n",
			name_of(boot_names, sizeof(boot_names) / sizeof(boot_names[0]), v));
	if (number(d, s->name, "fw_trap_cause", &v) && v & ZW_FW_TRAPPED)
		fprintf(out, "  -> it trapped: mcause %" PRIu64 "%s\n",
			v & ~(uint64_t)ZW_FW_TRAPPED,
			(v & 0xff) == 2 ? ", illegal instruction" : "");
	if (number(d, s->name, "reset_status", &v) && v)
		fprintf(out, "  -> a reset is under way\n");
}

static void print_failed(const struct coredump *d, const struct section *s, FILE *out)
{
	uint32_t status = (uint32_t)number_or_0(d, s->name, "status");
	uint32_t reason = (uint32_t)number_or_0(d, s->name, "reason");
	uint64_t v;

	print_plain(d, s, out);
	if (number_or_0(d, s->name, "suspect"))
		fprintf(out, "  -> the first queue that had jobs; it need not be to blame\n");
	if (status)
		fprintf(out, "  -> %s, %s\n", zw_job_status_name(status),
			reason_text(status, reason));
	if (number(d, s->name, "fw_state", &v) && !v)
		fprintf(out, "  -> the firmware had not been asked for the queue\n");
	else if (number(d, s->name, "fw_state", &v))
		fprintf(out, "  -> for the firmware the queue is %s\n",
			name_of(queue_names, sizeof(queue_names) / sizeof(queue_names[0]), v));
}

static void print_ring(const struct coredump *d, const struct section *s, FILE *out)
{
	fprintf(out, "\n%s\n", s->name);
	for (size_t i = s->first; i < s->end; i++) {
		const struct entry *e = &d->entries[i];
		struct zw_ring_entry r;

		if (e->bytes != sizeof(r)) {
			fprintf(out, "  %s: %zu bytes are no ring entry\n", e->value, e->bytes);
			continue;
		}
		memcpy(&r, e->data, sizeof(r));
		fprintf(out,
			"  job %s: seqno %" PRIu64 " commands 0x%012" PRIx64 " of %" PRIu32
			" bytes result 0x%012" PRIx64 " flags 0x%" PRIx32 "\n",
			e->value, r.seqno, r.cmd_va, r.cmd_bytes, r.result_va, r.flags);
	}
}

static void print_completions(const struct coredump *d, const struct section *s, FILE *out)
{
	fprintf(out, "\n%s\n", s->name);
	for (size_t i = s->first; i < s->end; i++) {
		const struct entry *e = &d->entries[i];
		struct zw_completion c;

		if (e->bytes != sizeof(c)) {
			fprintf(out, "  %s: %zu bytes are no completion\n", e->value, e->bytes);
			continue;
		}
		memcpy(&c, e->data, sizeof(c));
		if (c.seqno != strtoull(e->value, NULL, 10))
			fprintf(out, "  job %s: none (slot has that of %" PRIu64 ")\n", e->value,
				c.seqno);
		else
			fprintf(out, "  job %s: %s, %s, packet %" PRIu32 " va 0x%012" PRIx64 "\n",
				e->value, zw_job_status_name(c.status),
				reason_text(c.status, c.reason), c.packet_index, c.fault_va);
	}
}

static void print_commands(const struct coredump *d, const struct section *s, FILE *out)
{
	const struct entry *e = find(d, s->name, "taken");
	uint64_t bytes = number_or_0(d, s->name, "bytes");
	uint64_t taken = number_or_0(d, s->name, "taken");

	fprintf(out, "\n%s at %s, %" PRIu64 " bytes\n", s->name, text(d, s->name, "va"), bytes);
	if (taken < bytes)
		fprintf(out, "  only the first %" PRIu64 " bytes were taken\n", taken);
	if (taken)
		zw_cmd_dump(out, e->data, (size_t)taken);
}

static void print_maps(const struct coredump *d, const struct section *s, FILE *out)
{
	uint64_t cmd = number_or_0(d, "commands", "va");
	uint64_t cmd_bytes = number_or_0(d, "commands", "bytes");
	uint64_t fault = number_or_0(d, "failed", "fault_va");

	fprintf(out, "\n%s, %s in all\n", s->name, text(d, s->name, "total"));
	for (size_t i = s->first; i < s->end; i++) {
		const char *value = d->entries[i].value;
		uint64_t va, range;
		char *end;

		if (strcmp(d->entries[i].key, "map"))
			continue;
		va = strtoull(value, &end, 16);
		range = strtoull(end, NULL, 16);
		fprintf(out, "  %s%s%s\n", value,
			cmd_bytes && cmd - va < range ? " <- commands" : "",
			fault && fault - va < range ? " <- fault" : "");
	}
}

static void print_mailbox(const struct coredump *d, const struct section *s, FILE *out)
{
	fprintf(out, "\n%s\n", s->name);
	for (size_t i = s->first; i < s->end; i++) {
		const struct entry *e = &d->entries[i];
		struct zw_msg m;

		if (strcmp(e->key, "slot") || e->bytes != sizeof(m)) {
			fprintf(out, "  %-16s %s\n", e->key, e->value);
			continue;
		}
		memcpy(&m, e->data, sizeof(m));
		fprintf(out, "  seq %-6" PRIu32 " %-15s status %" PRIu32, m.seq, msg_name(m.type),
			m.status);
		if (m.reply_to)
			fprintf(out, " to %" PRIu32, m.reply_to);
		for (size_t j = 0; j < 16; j += 4) {
			uint32_t w;

			memcpy(&w, m.payload + j, 4);
			fprintf(out, " %08" PRIx32, w);
		}
		fputs("\n", out);
	}
}

void coredump_print(const struct coredump *d, FILE *out)
{
	static const struct {
		const char *name;
		void (*print)(const struct coredump *d, const struct section *s, FILE *out);
	} known[] = {
		{"registers", print_registers}, {"failed", print_failed},
		{"ring", print_ring},           {"completions", print_completions},
		{"commands", print_commands},   {"maps", print_maps},
		{"requests", print_mailbox},    {"replies", print_mailbox},
	};

	print_head(d, out);
	for (size_t i = 1; i < d->num_sections; i++) {
		const struct section *s = &d->sections[i];
		size_t k = 0;

		while (k < sizeof(known) / sizeof(known[0]) && strcmp(known[k].name, s->name))
			k++;
		if (k < sizeof(known) / sizeof(known[0]))
			known[k].print(d, s, out);
		else
			print_plain(d, s, out);
	}
}
