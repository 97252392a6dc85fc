// SPDX-License-Identifier: MIT
/* zw-smi: the table for people, and the small views: fw, topo, dmon, pmon. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "smi.h"
#include "zhenwu/zhenwu.h"

#define RULE_TOP "+-----------------------------------------------------------------------------+\n"
#define RULE     "+-----------------------------+------------------------+----------------------+\n"
#define RULE_HEAD                                                                                  \
	"|=============================+========================+======================|\n"

/* Text of a value with its unit, N/A without one. */
static void with_unit(bool have, double v, int decimals, const char *unit, char out[SMI_TEXT])
{
	if (have)
		snprintf(out, SMI_TEXT, "%.*f%s", decimals, v, unit);
	else
		snprintf(out, SMI_TEXT, "N/A");
}

static void print_device(const struct smi_device *d)
{
	char temperature[SMI_TEXT], power[SMI_TEXT], cap[SMI_TEXT], used[SMI_TEXT], total[SMI_TEXT],
		busy[SMI_TEXT], ecc[SMI_TEXT], both[2 * SMI_TEXT + 4], memory[2 * SMI_TEXT + 4];

	with_unit(d->temperature_mc.have, (double)d->temperature_mc.v / 1000, 0, "C", temperature);
	with_unit(d->power_uw.have, (double)d->power_uw.v / 1e6, 0, "W", power);
	with_unit(d->cap_uw.have, (double)d->cap_uw.v / 1e6, 0, "W", cap);
	with_unit(d->hbm_used.have, (double)d->hbm_used.v / 1048576, 0, "MiB", used);
	with_unit(d->hbm_total.have, (double)d->hbm_total.v / 1048576, 0, "MiB", total);
	with_unit(d->busy_permille.have, (double)d->busy_permille.v / 10, 0, "%", busy);
	with_unit(d->ecc_uncorrectable.have, (double)d->ecc_uncorrectable.v, 0, "", ecc);
	snprintf(both, sizeof(both), "%s / %s", power, cap);
	snprintf(memory, sizeof(memory), "%s / %s", used, total);
	printf("| %3u  %-12.12s %9.9s | %-22.22s | %20s |\n", d->index,
	       *d->profile ? d->profile : "N/A", *d->health ? d->health : "N/A", d->bdf, ecc);
	printf("| N/A  %5.5s %16.16s | %22.22s | %20s |\n", temperature, both, memory, busy);
	printf(RULE);
}

void smi_print_table(const struct smi_snapshot *s)
{
	const struct smi_device *first = s->devices;
	char version[SMI_TEXT];

	snprintf(version, sizeof(version), "%u.%u.%u", zw_version() >> 16, zw_version() >> 8 & 0xff,
		 zw_version() & 0xff);
	printf(RULE_TOP);
	printf("| ZW-SMI %-11.11s  Driver version: %-10.10s  Firmware version: %-9.9s |\n", version,
	       *first->driver_version ? first->driver_version : "N/A",
	       *first->fw_version ? first->fw_version : "N/A");
	printf(RULE);
	printf("| NPU  Name            Health | Bus-Id                 |          Uncorr. ECC |\n");
	printf("| Fan  Temp     Pwr:Usage/Cap |           Memory-Usage |             NPU-Util |\n");
	printf(RULE_HEAD);
	for (size_t i = 0; i < s->num_devices; i++)
		print_device(&s->devices[i]);
	printf("\n" RULE_TOP);
	printf("| Processes:                                                                  |\n");
	printf("|  NPU      PID  Process name                    NPU Memory   Util            |\n");
	printf("|=============================================================================|\n");
	if (!s->num_processes)
		printf("|  No processes that may be seen                                           "
		       "   |\n");
	for (size_t i = 0; i < s->num_devices; i++) {
		for (size_t j = 0; j < s->num_processes; j++) {
			const struct smi_process *p = &s->processes[j];
			char memory[SMI_TEXT], busy[SMI_TEXT];

			if (strcmp(p->bdf, s->devices[i].bdf))
				continue;
			with_unit(true, (double)p->hbm / 1048576, 0, "MiB", memory);
			with_unit(p->busy_permille.have, (double)p->busy_permille.v / 10, 0, "%",
				  busy);
			printf("|  %3u %8u  %-28.28s %13.13s  %5.5s            |\n",
			       s->devices[i].index, p->pid, p->name, memory, busy);
		}
	}
	printf(RULE_TOP);
}

/* -- fw --------------------------------------------------------------------------------------- */

void smi_print_firmware(const struct smi_snapshot *s)
{
	printf("%-4s %-14s %-10s %-10s %-10s %-10s\n", "NPU", "Bus-Id", "Firmware", "ABI", "Driver",
	       "Health");
	for (size_t i = 0; i < s->num_devices; i++) {
		const struct smi_device *d = &s->devices[i];

		printf("%-4u %-14s %-10s %-10s %-10s %-10s\n", d->index, d->bdf,
		       *d->fw_version ? d->fw_version : "N/A",
		       *d->abi_version ? d->abi_version : "N/A",
		       *d->driver_version ? d->driver_version : "N/A",
		       *d->health ? d->health : "N/A");
	}
}

/* -- topo ------------------------------------------------------------------------------------- */

/* The place of a device in the tree of buses, or false. */
static bool place(const struct smi_device *d, char out[PATH_MAX])
{
	return realpath(d->path, out);
}

/* How two devices are connected: what the way between them crosses. */
static const char *connection(const char *a, const char *b, const struct smi_device *x,
			      const struct smi_device *y)
{
	size_t same = 0, bridges = 0;

	/* The part of the way from the root that both have. */
	for (size_t i = 0; a[i] == b[i]; i++) {
		if (!a[i])
			return "X";
		if (a[i] == '/')
			same = i;
	}
	/* Below it: the device alone, or bridges too. */
	for (size_t i = same + 1; a[i]; i++)
		bridges += a[i] == '/';
	for (size_t i = same + 1; b[i]; i++)
		bridges += b[i] == '/';
	if (same && strstr(a, "/pci") && strstr(a, "/pci") < a + same &&
	    strchr(strstr(a, "/pci") + 1, '/') && strchr(strstr(a, "/pci") + 1, '/') <= a + same)
		/* Both under one root complex. */
		return strchr(strstr(a, "/pci") + 1, '/') == a + same ? "PHB"
		       : bridges <= 2                                 ? "PIX"
								      : "PXB";
	if (x->numa_node.have && y->numa_node.have && x->numa_node.v == y->numa_node.v)
		return "NODE";
	return "SYS";
}

void smi_print_topology(const struct smi_snapshot *s)
{
	char a[PATH_MAX], b[PATH_MAX], numa[SMI_TEXT], links[SMI_TEXT];

	printf("%-6s", "");
	for (size_t i = 0; i < s->num_devices; i++)
		printf("NPU%-4u", s->devices[i].index);
	printf("%-6s%s\n", "NUMA", "Ports");
	for (size_t i = 0; i < s->num_devices; i++) {
		const struct smi_device *x = &s->devices[i];

		printf("NPU%-3u", x->index);
		for (size_t j = 0; j < s->num_devices; j++) {
			const struct smi_device *y = &s->devices[j];
			bool known = place(x, a) && place(y, b);

			printf("%-7s", i == j ? "X" : known ? connection(a, b, x, y) : "N/A");
		}
		with_unit(x->numa_node.have, (double)x->numa_node.v, 0, "", numa);
		with_unit(x->links.have, (double)x->links.v, 0, "", links);
		printf("%-6s%s\n", numa, links);
	}
	puts("\nX: itself; PIX: one bridge between; PXB: several; PHB: the root complex; NODE: "
	     "root\n"
	     "complexes of one NUMA node; SYS: NUMA nodes. Ports to other cards are counted only.");
}

/* -- dmon, pmon ------------------------------------------------------------------------------- */

void smi_print_dmon(const struct smi_snapshot *s, bool header)
{
	if (header)
		printf("# %3s %6s %6s %6s %10s %8s %8s %s\n#%4s %6s %6s %6s %10s %8s %8s\n", "npu",
		       "pwr", "temp", "util", "hbm", "ecc", "resets", "health", "", "W", "C", "%",
		       "MiB", "uncorr", "");
	for (size_t i = 0; i < s->num_devices; i++) {
		const struct smi_device *d = &s->devices[i];
		char power[SMI_TEXT], temperature[SMI_TEXT], busy[SMI_TEXT], used[SMI_TEXT],
			ecc[SMI_TEXT], resets[SMI_TEXT];

		with_unit(d->power_uw.have, (double)d->power_uw.v / 1e6, 1, "", power);
		with_unit(d->temperature_mc.have, (double)d->temperature_mc.v / 1000, 1, "",
			  temperature);
		with_unit(d->busy_permille.have, (double)d->busy_permille.v / 10, 1, "", busy);
		with_unit(d->hbm_used.have, (double)d->hbm_used.v / 1048576, 1, "", used);
		with_unit(d->ecc_uncorrectable.have, (double)d->ecc_uncorrectable.v, 0, "", ecc);
		with_unit(d->resets.have, (double)d->resets.v, 0, "", resets);
		printf("  %3u %6s %6s %6s %10s %8s %8s %s\n", d->index, power, temperature, busy,
		       used, ecc, resets, *d->health ? d->health : "N/A");
	}
}

void smi_print_pmon(const struct smi_snapshot *s, bool header)
{
	if (header)
		printf("# %3s %8s %6s %10s %10s %10s %s\n#%4s %8s %6s %10s %10s %10s\n", "npu",
		       "pid", "util", "hbm", "memory", "jobs", "process", "", "", "%", "MiB", "MiB",
		       "");
	for (size_t i = 0; i < s->num_devices; i++) {
		for (size_t j = 0; j < s->num_processes; j++) {
			const struct smi_process *p = &s->processes[j];
			char busy[SMI_TEXT];

			if (strcmp(p->bdf, s->devices[i].bdf))
				continue;
			with_unit(p->busy_permille.have, (double)p->busy_permille.v / 10, 1, "",
				  busy);
			printf("  %3u %8u %6s %10.1f %10.1f %10" PRIu64 " %s\n",
			       s->devices[i].index, p->pid, busy, (double)p->hbm / 1048576,
			       (double)p->memory / 1048576, p->jobs, p->name);
		}
	}
}
