// SPDX-License-Identifier: MIT
/* zw-info: what devices there are, and what they are like. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool_output.h"
#include "zhenwu/zhenwu.h"

#define MAX_DEVICES 64

static const char usage[] =
	"usage: zw-info [--json] [--device SPEC] [--profile P]\n"
	"Without --device: the accelerator nodes of this machine and what each of them is.\n"
	"  --device SPEC  auto, drm, drm:N or sim\n"
	"  --profile P    chip profile of the sim device: 810e, m890, c12, a100-80g, h100-sxm\n"
	"  --json         machine-readable\n"
	"Exit status: 0 all listed devices work, 1 one does not, 2 usage.\n";

static void version_text(char *out, size_t len, uint32_t v)
{
	snprintf(out, len, "%u.%u.%u", ZW_FW_VERSION_MAJOR(v), ZW_FW_VERSION_MINOR(v),
		 ZW_FW_VERSION_PATCH(v));
}

static void uuid_text(char *buf, size_t len, const uint8_t uuid[16])
{
	size_t n = 0;

	for (int i = 0; i < 16; i++)
		n += (size_t)snprintf(buf + n, len - n, "%s%02x",
				      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

/* c is NULL where counters are not permitted, here and below */
static void print_text(const struct zw_dev_attrs *a, const struct zw_dev_counters *c,
		       const struct zw_dev_entry *e)
{
	char fw[24];

	version_text(fw, sizeof(fw), a->fw_version);
	printf("%s", a->spec);
	if (e)
		printf(" (%s, %s)", e->node, e->bus);
	printf("\n");
	printf("  profile          %s\n", a->profile_name);
	printf("  firmware         %s\n", fw);
	printf("  device ABI       %u.%u\n", ZW_ABI_VERSION_MAJOR(a->abi_version),
	       ZW_ABI_VERSION_MINOR(a->abi_version));
	if (a->transport == ZW_TRANSPORT_DRM)
		printf("  driver           %u.%u\n", a->driver_version >> 16,
		       a->driver_version & 0xffff);
	else
		printf("  engine threads   %u\n", a->workers);
	printf("  HBM              %.1f GiB, %.1f GiB free, %.1f GiB CPU visible\n",
	       (double)a->hbm_size / (1 << 30), (double)a->hbm_free / (1 << 30),
	       (double)a->hbm_visible / (1 << 30));
	printf("  addresses        %u bits, pages of %u bytes\n", a->va_bits, a->page_size);
	if (a->transport == ZW_TRANSPORT_DRM) {
		char uuid[40];

		uuid_text(uuid, sizeof(uuid), a->uuid);
		printf("  uuid             %s\n", uuid);
	}
	printf("  queues           %u of up to %u jobs, priority up to %u\n", a->max_queues,
	       a->max_ring_slots, a->max_priority);
	printf("  address spaces   %u\n", a->max_vms);
	printf("  resets           %u\n", a->reset_count);
	if (!c) {
		printf("  counters         need CAP_PERFMON\n");
		return;
	}
	printf("  jobs, packets    %" PRIu64 ", %" PRIu64 "\n", c->jobs, c->packets);
	printf("  MMU              %" PRIu64 " faults, TLB %" PRIu64 " hits, %" PRIu64 " misses\n",
	       c->faults, c->tlb_hits, c->tlb_misses);
	printf("  HBM traffic      %" PRIu64 " bytes read, %" PRIu64 " written\n", c->hbm_read,
	       c->hbm_written);
	for (uint32_t i = 0; i < ZW_ENGINE_COUNT; i++)
		if (c->busy_ps[i])
			printf("  busy %-11s %.3f us (simulated)\n", zw_engine_name(i),
			       (double)c->busy_ps[i] / 1e6);
}

static bool put(cJSON *o, const char *name, uint64_t v)
{
	/* doubles hold what the counters reach in years exactly enough; sizes exactly */
	return cJSON_AddNumberToObject(o, name, (double)v);
}

static cJSON *to_json(const struct zw_dev_attrs *a, const struct zw_dev_counters *c,
		      const struct zw_dev_entry *e)
{
	cJSON *o = cJSON_CreateObject(), *k, *busy;
	char fw[24], abi[24], uuid[40];

	version_text(fw, sizeof(fw), a->fw_version);
	snprintf(abi, sizeof(abi), "%u.%u", ZW_ABI_VERSION_MAJOR(a->abi_version),
		 ZW_ABI_VERSION_MINOR(a->abi_version));
	cJSON_AddStringToObject(o, "device", a->spec);
	cJSON_AddStringToObject(o, "transport", a->transport_name);
	if (e) {
		cJSON_AddStringToObject(o, "node", e->node);
		cJSON_AddStringToObject(o, "bus", e->bus);
	}
	cJSON_AddStringToObject(o, "profile", a->profile_name);
	cJSON_AddStringToObject(o, "firmware", fw);
	cJSON_AddStringToObject(o, "abi", abi);
	put(o, "hbm_bytes", a->hbm_size);
	put(o, "hbm_free_bytes", a->hbm_free);
	put(o, "hbm_visible_bytes", a->hbm_visible);
	put(o, "va_bits", a->va_bits);
	put(o, "va_start", a->va_start);
	put(o, "va_end", a->va_end);
	put(o, "page_bytes", a->page_size);
	put(o, "max_queues", a->max_queues);
	put(o, "max_vms", a->max_vms);
	put(o, "max_ring_slots", a->max_ring_slots);
	put(o, "max_priority", a->max_priority);
	put(o, "resets", a->reset_count);
	put(o, "workers", a->workers);
	uuid_text(uuid, sizeof(uuid), a->uuid);
	cJSON_AddStringToObject(o, "uuid", uuid);
	if (!c)
		return o;
	k = cJSON_AddObjectToObject(o, "counters");
	put(k, "jobs", c->jobs);
	put(k, "packets", c->packets);
	put(k, "faults", c->faults);
	put(k, "tlb_hits", c->tlb_hits);
	put(k, "tlb_misses", c->tlb_misses);
	put(k, "hbm_read_bytes", c->hbm_read);
	put(k, "hbm_written_bytes", c->hbm_written);
	put(k, "sys_read_bytes", c->sys_read);
	put(k, "sys_written_bytes", c->sys_written);
	put(k, "fw_heartbeat", c->fw_heartbeat);
	busy = cJSON_AddObjectToObject(k, "busy_ps");
	for (uint32_t i = 0; i <= ZW_ENGINE_DMA; i++)
		put(busy, zw_engine_name(i), c->busy_ps[i]);
	return o;
}

/* One device, to the list or to stdout. 0 or 1. */
static int show(const char *spec, const struct zw_dev_entry *e, const char *profile, cJSON *list)
{
	struct zw_dev_options opt = {.size = sizeof(opt), .profile = profile};
	struct zw_dev_attrs a = {.size = sizeof(a)};
	struct zw_dev_counters c = {.size = sizeof(c)};
	struct zw_error err = {""};
	struct zw_dev *dev;
	bool permitted = true;
	int ret = zw_dev_open(spec, &opt, &dev, &err);

	if (!ret) {
		ret = zw_dev_get_attrs(dev, &a);
		if (!ret)
			ret = zw_dev_get_counters(dev, &c);
		/* They tell what others do: not for everybody. The rest is. */
		permitted = ret != -EACCES;
		if (!permitted)
			ret = 0;
		if (ret)
			snprintf(err.msg, sizeof(err.msg), "%s: %s", spec, strerror(-ret));
	}
	if (ret) {
		fprintf(stderr, "zw-info: %s\n", err.msg);
		if (list) {
			cJSON *o = cJSON_CreateObject();

			cJSON_AddStringToObject(o, "device", spec);
			cJSON_AddStringToObject(o, "error", err.msg);
			cJSON_AddItemToArray(list, o);
		}
	} else if (list) {
		cJSON_AddItemToArray(list, to_json(&a, permitted ? &c : NULL, e));
	} else {
		print_text(&a, permitted ? &c : NULL, e);
	}
	zw_dev_close(dev);
	return ret ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},          {"device", required_argument, NULL, 'd'},
		{"profile", required_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},       {0},
	};
	struct zw_dev_entry entries[MAX_DEVICES];
	const char *spec = NULL, *profile = NULL;
	cJSON *list = NULL;
	int opt, count, status = 0;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			list = list ? list : cJSON_CreateArray();
			break;
		case 'd':
			spec = optarg;
			break;
		case 'p':
			profile = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return tool_finish("zw-info", 0);
		case 'v':
			printf("zw-info %u.%u.%u\n", zw_version() >> 16, zw_version() >> 8 & 0xff,
			       zw_version() & 0xff);
			return tool_finish("zw-info", 0);
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	if (spec) {
		status = show(spec, NULL, profile, list);
	} else {
		count = zw_dev_list(entries, MAX_DEVICES, sizeof(entries[0]));
		if (count < 0) {
			fprintf(stderr, "zw-info: cannot list devices: %s\n",
				count == -EINVAL ? "ZW_VISIBLE_DEVICES is malformed"
						 : strerror(-count));
			return 1;
		}
		for (int i = 0; i < count && i < MAX_DEVICES; i++)
			status |= show(entries[i].spec, &entries[i], NULL, list);
		if (!count && !list)
			printf("no accelerator node; --device sim shows the simulator\n");
	}
	if (list) {
		char *text = cJSON_Print(list);

		if (!text || puts(text) < 0)
			status = 1;
		free(text);
		cJSON_Delete(list);
	}
	return tool_finish("zw-info", status);
}
