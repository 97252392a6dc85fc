// SPDX-License-Identifier: MIT
/* zw-smi: all there is, for programs: -q, CSV, JSON, Prometheus. */
#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "smi.h"

static const struct smi_device *device_of(const struct smi_snapshot *s, const struct smi_process *p)
{
	for (size_t i = 0; i < s->num_devices; i++)
		if (!strcmp(s->devices[i].bdf, p->bdf))
			return &s->devices[i];
	return NULL;
}

/* -- -q --------------------------------------------------------------------------------------- */

void smi_print_all(const struct smi_snapshot *s)
{
	char value[SMI_TEXT];

	for (size_t i = 0; i < s->num_devices; i++) {
		const struct smi_device *d = &s->devices[i];

		printf("%sNPU %u (%s)\n", i ? "\n" : "", d->index, d->bdf);
		for (size_t f = 0; f < smi_num_fields; f++) {
			bool have = smi_field_text(f, d, value, sizeof(value));

			printf("    %-24s : %s%s%s\n", smi_fields[f].name, value,
			       have && *smi_fields[f].unit ? " " : "",
			       have ? smi_fields[f].unit : "");
		}
		for (size_t j = 0; j < s->num_processes; j++) {
			const struct smi_process *p = &s->processes[j];

			if (!strcmp(p->bdf, d->bdf))
				printf("    %-24s : %u %s, %.2f MiB\n", "process", p->pid, p->name,
				       (double)p->hbm / 1048576);
		}
	}
}

/* -- CSV -------------------------------------------------------------------------------------- */

/* The field at *names, which is moved behind it; smi_num_fields: there is none of that name. */
static size_t next_field(const char **names)
{
	size_t len = strcspn(*names, ","), f = smi_field_find(*names, len);

	*names += len;
	*names += **names == ',';
	return f;
}

bool smi_check_query(const char *names)
{
	size_t len = strlen(names);

	if (!len || names[len - 1] == ',')
		return false;
	while (*names)
		if (next_field(&names) == smi_num_fields)
			return false;
	return true;
}

void smi_print_csv(const struct smi_snapshot *s, const char *names, bool header, bool units)
{
	char value[SMI_TEXT];

	if (header) {
		for (const char *at = names; *at;) {
			const struct smi_field *f = &smi_fields[next_field(&at)];

			printf("%s", f->name);
			if (*f->unit)
				printf(" [%s]", f->unit);
			printf("%s", *at ? ", " : "\n");
		}
	}
	for (size_t i = 0; i < s->num_devices; i++) {
		for (const char *at = names; *at;) {
			size_t n = next_field(&at);
			bool have = smi_field_text(n, &s->devices[i], value, sizeof(value));
			bool unit = have && units && *smi_fields[n].unit;

			printf("%s%s%s%s", value, unit ? " " : "", unit ? smi_fields[n].unit : "",
			       *at ? ", " : "\n");
		}
	}
}

/* -- JSON ------------------------------------------------------------------------------------- */

/* Numbers as they are printed elsewhere, missing ones null. */
static void put_value(cJSON *o, const char *name, const char *value, bool have, bool text)
{
	if (!have)
		cJSON_AddNullToObject(o, name);
	else if (text)
		cJSON_AddStringToObject(o, name, value);
	else
		cJSON_AddRawToObject(o, name, value);
}

/* Does the field hold a number. */
static bool is_number(size_t f)
{
	static const char *const names[] = {"index",         "pcie.link.width", "numa.node",
					    "links.count",   "ecc.corrected",   "ecc.uncorrected",
					    "retired_pages", "reset.count"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(smi_fields[f].name, names[i]))
			return true;
	return *smi_fields[f].unit;
}

/* "memory.used" and MiB become memory_used_mib. */
static void json_name(const struct smi_field *f, char *out, size_t len)
{
	snprintf(out, len, "%s%s%s", f->name, *f->unit ? "_" : "",
		 strcmp(f->unit, "%") ? f->unit : "percent");
	for (char *c = out; *c; c++)
		*c = *c == '.' ? '_' : (char)tolower((unsigned char)*c);
}

static cJSON *process_json(const struct smi_process *p)
{
	cJSON *o = cJSON_CreateObject();
	char rate[SMI_TEXT];

	cJSON_AddNumberToObject(o, "pid", p->pid);
	cJSON_AddStringToObject(o, "name", p->name);
	cJSON_AddNumberToObject(o, "hbm_bytes", (double)p->hbm);
	cJSON_AddNumberToObject(o, "memory_bytes", (double)p->memory);
	cJSON_AddNumberToObject(o, "busy_ns", (double)p->busy_ns);
	cJSON_AddNumberToObject(o, "device_ns", (double)p->device_ns);
	cJSON_AddNumberToObject(o, "jobs", (double)p->jobs);
	snprintf(rate, sizeof(rate), "%.1f", (double)p->busy_permille.v / 10);
	put_value(o, "utilization_percent", rate, p->busy_permille.have, false);
	return o;
}

int smi_print_json(const struct smi_snapshot *s)
{
	cJSON *top = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(top, "devices");
	char *out;

	for (size_t i = 0; i < s->num_devices; i++) {
		cJSON *o = cJSON_CreateObject(), *processes;

		for (size_t f = 0; f < smi_num_fields; f++) {
			char value[SMI_TEXT], name[SMI_TEXT];
			bool have = smi_field_text(f, &s->devices[i], value, sizeof(value));

			json_name(&smi_fields[f], name, sizeof(name));
			put_value(o, name, value, have, !is_number(f));
		}
		processes = cJSON_AddArrayToObject(o, "processes");
		for (size_t j = 0; j < s->num_processes; j++)
			if (!strcmp(s->processes[j].bdf, s->devices[i].bdf))
				cJSON_AddItemToArray(processes, process_json(&s->processes[j]));
		cJSON_AddItemToArray(list, o);
	}
	out = cJSON_Print(top);
	cJSON_Delete(top);
	if (!out)
		return -ENOMEM;
	puts(out);
	free(out);
	return 0;
}

/* -- Prometheus ------------------------------------------------------------------------------- */

/* Text between quotes; the format knows three escapes. */
static void print_label(const char *name, const char *value)
{
	printf("%s=\"", name);
	for (; *value; value++)
		printf(*value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
	putchar('"');
}

static void print_labels(const struct smi_device *d)
{
	print_label("pci", d->bdf);
	putchar(',');
	print_label("uuid", d->uuid);
}

static void print_process_metric(const struct smi_snapshot *s, const char *name, const char *type,
				 const char *help, size_t offset, double scale)
{
	printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
	for (size_t i = 0; i < s->num_processes; i++) {
		const struct smi_process *p = &s->processes[i];
		const struct smi_device *d = device_of(s, p);

		if (!d)
			continue;
		printf("%s{", name);
		print_labels(d);
		printf(",pid=\"%u\",", p->pid);
		print_label("process", p->name);
		printf("} %.12g\n", (double)*(const uint64_t *)((const char *)p + offset) * scale);
	}
}

void smi_print_prometheus(const struct smi_snapshot *s)
{
	double value;

	printf("# HELP zhenwu_info A device, and its versions.\n# TYPE zhenwu_info gauge\n");
	for (size_t i = 0; i < s->num_devices; i++) {
		const struct smi_device *d = &s->devices[i];

		printf("zhenwu_info{");
		print_labels(d);
		putchar(',');
		print_label("name", d->profile);
		putchar(',');
		print_label("driver", d->driver_version);
		putchar(',');
		print_label("firmware", d->fw_version);
		putchar(',');
		print_label("abi", d->abi_version);
		printf("} 1\n");
	}
	printf("# HELP zhenwu_healthy Does the device work as it should.\n"
	       "# TYPE zhenwu_healthy gauge\n");
	for (size_t i = 0; i < s->num_devices; i++) {
		printf("zhenwu_healthy{");
		print_labels(&s->devices[i]);
		printf("} %d\n", !strcmp(s->devices[i].health, "ok"));
	}
	for (size_t f = 0; f < smi_num_fields; f++) {
		const struct smi_field *field = &smi_fields[f];

		if (!field->metric)
			continue;
		printf("# HELP %s %c%s.\n# TYPE %s %s\n", field->metric,
		       toupper((unsigned char)field->help[0]), field->help + 1, field->metric,
		       field->type);
		for (size_t i = 0; i < s->num_devices; i++) {
			/* What is missing is left out: there is no number for it. */
			if (!smi_field_metric(f, &s->devices[i], &value))
				continue;
			printf("%s{", field->metric);
			print_labels(&s->devices[i]);
			printf("} %.15g\n", value);
		}
	}
	print_process_metric(s, "zhenwu_process_memory_bytes", "gauge", "HBM of a process.",
			     offsetof(struct smi_process, hbm), 1);
	print_process_metric(s, "zhenwu_process_busy_seconds_total", "counter",
			     "Part of a process in the device's busy time.",
			     offsetof(struct smi_process, busy_ns), 1e-9);
}
