// SPDX-License-Identifier: MIT
/* zw-smi: what can be asked of a device, by name: the one table behind -q, CSV, JSON and metrics. */
#include <inttypes.h>
#include <string.h>

#include "smi.h"

enum field {
	F_INDEX,
	F_NAME,
	F_UUID,
	F_BUS,
	F_HEALTH,
	F_DRIVER,
	F_FIRMWARE,
	F_ABI,
	F_LINK_SPEED,
	F_LINK_WIDTH,
	F_NUMA,
	F_LINKS,
	F_MEM_TOTAL,
	F_MEM_USED,
	F_MEM_FREE,
	F_UTILIZATION,
	F_BUSY,
	F_TEMPERATURE,
	F_POWER,
	F_CAP,
	F_ENERGY,
	F_CLOCK,
	F_VOLTAGE,
	F_FAN,
	F_ECC_CORRECTED,
	F_ECC_UNCORRECTED,
	F_RETIRED,
	F_RESETS,
	NUM_FIELDS,
};

/* Names of fields and metrics are stable: more may come, none is renamed or changes its unit. */
const struct smi_field smi_fields[] = {
	[F_INDEX] = {"index", "", "number of the accel node", NULL, NULL},
	[F_NAME] = {"name", "", "chip profile", NULL, NULL},
	[F_UUID] = {"uuid", "", "names the card", NULL, NULL},
	[F_BUS] = {"pci.bus_id", "", "PCI address", NULL, NULL},
	[F_HEALTH] = {"health", "", "ok, degraded, resetting, suspended or lost", NULL, NULL},
	[F_DRIVER] = {"driver_version", "", "version of the driver's interface", NULL, NULL},
	[F_FIRMWARE] = {"firmware_version", "", "version of the firmware that runs", NULL, NULL},
	[F_ABI] = {"abi_version", "", "version of the device's interface", NULL, NULL},
	[F_LINK_SPEED] = {"pcie.link.speed", "", "speed of the PCIe link", NULL, NULL},
	[F_LINK_WIDTH] = {"pcie.link.width", "", "lanes of the PCIe link", NULL, NULL},
	[F_NUMA] = {"numa.node", "", "NUMA node it is at", NULL, NULL},
	[F_LINKS] = {"links.count", "", "ports to other cards", NULL, NULL},
	[F_MEM_TOTAL] = {"memory.total", "MiB", "HBM", "zhenwu_memory_total_bytes", "gauge"},
	[F_MEM_USED] = {"memory.used", "MiB", "HBM that is allocated", "zhenwu_memory_used_bytes",
			"gauge"},
	[F_MEM_FREE] = {"memory.free", "MiB", "HBM that is not", NULL, NULL},
	[F_UTILIZATION] = {"utilization", "%", "part of the period in which it had work", NULL,
			   NULL},
	[F_BUSY] = {"busy.time", "ms", "how long it had work since the driver was bound",
		    "zhenwu_busy_seconds_total", "counter"},
	[F_TEMPERATURE] = {"temperature", "C", "of the chip", "zhenwu_temperature_celsius",
			   "gauge"},
	[F_POWER] = {"power.draw", "W", "mean power since the sample before", "zhenwu_power_watts",
		     "gauge"},
	[F_CAP] = {"power.limit", "W", "power that it takes at most", "zhenwu_power_limit_watts",
		   "gauge"},
	[F_ENERGY] = {"energy", "J", "energy of all samples", "zhenwu_energy_joules_total",
		      "counter"},
	[F_CLOCK] = {"clock", "MHz", "no sensor", NULL, NULL},
	[F_VOLTAGE] = {"voltage", "mV", "no sensor", NULL, NULL},
	[F_FAN] = {"fan.speed", "%", "no sensor", NULL, NULL},
	[F_ECC_CORRECTED] = {"ecc.corrected", "", "errors of HBM that were corrected",
			     "zhenwu_ecc_corrected_total", "counter"},
	[F_ECC_UNCORRECTED] = {"ecc.uncorrected", "", "errors of HBM that were not",
			       "zhenwu_ecc_uncorrected_total", "counter"},
	[F_RETIRED] = {"retired_pages", "", "pages of HBM out of use", "zhenwu_retired_pages",
		       "gauge"},
	[F_RESETS] = {"reset.count", "", "resets since the driver was bound", "zhenwu_resets_total",
		      "counter"},
};
const size_t smi_num_fields = NUM_FIELDS;

static bool text(const char *value, char *out, size_t len)
{
	snprintf(out, len, "%s", *value ? value : "N/A");
	return *value;
}

static bool number(struct smi_u64 n, uint64_t divisor, int decimals, char *out, size_t len)
{
	if (!n.have)
		return text("", out, len);
	snprintf(out, len, "%.*f", decimals, (double)n.v / (double)divisor);
	return true;
}

static bool count(struct smi_u64 n, char *out, size_t len)
{
	if (!n.have)
		return text("", out, len);
	snprintf(out, len, "%" PRIu64, n.v);
	return true;
}

static struct smi_u64 free_bytes(const struct smi_device *d)
{
	struct smi_u64 r = {
		d->hbm_total.have && d->hbm_used.have && d->hbm_used.v <= d->hbm_total.v, 0};

	if (r.have)
		r.v = d->hbm_total.v - d->hbm_used.v;
	return r;
}

bool smi_field_text(size_t field, const struct smi_device *d, char *out, size_t len)
{
	switch ((enum field)field) {
	case F_INDEX:
		snprintf(out, len, "%u", d->index);
		return true;
	case F_NAME:
		return text(d->profile, out, len);
	case F_UUID:
		return text(d->uuid, out, len);
	case F_BUS:
		return text(d->bdf, out, len);
	case F_HEALTH:
		return text(d->health, out, len);
	case F_DRIVER:
		return text(d->driver_version, out, len);
	case F_FIRMWARE:
		return text(d->fw_version, out, len);
	case F_ABI:
		return text(d->abi_version, out, len);
	case F_LINK_SPEED:
		return text(d->link_speed, out, len);
	case F_LINK_WIDTH:
		return count(d->link_width, out, len);
	case F_NUMA:
		return count(d->numa_node, out, len);
	case F_LINKS:
		return count(d->links, out, len);
	case F_MEM_TOTAL:
		return number(d->hbm_total, 1048576, 2, out, len);
	case F_MEM_USED:
		return number(d->hbm_used, 1048576, 2, out, len);
	case F_MEM_FREE:
		return number(free_bytes(d), 1048576, 2, out, len);
	case F_UTILIZATION:
		return number(d->busy_permille, 10, 1, out, len);
	case F_BUSY:
		return number(d->busy_us, 1000, 3, out, len);
	case F_TEMPERATURE:
		if (!d->temperature_mc.have)
			return text("", out, len);
		snprintf(out, len, "%.1f", (double)d->temperature_mc.v / 1000.0);
		return true;
	case F_POWER:
		return number(d->power_uw, 1000000, 2, out, len);
	case F_CAP:
		return number(d->cap_uw, 1000000, 2, out, len);
	case F_ENERGY:
		return number(d->energy_uj, 1000000, 3, out, len);
	case F_ECC_CORRECTED:
		return count(d->ecc_corrected, out, len);
	case F_ECC_UNCORRECTED:
		return count(d->ecc_uncorrectable, out, len);
	case F_RETIRED:
		return count(d->retired_pages, out, len);
	case F_RESETS:
		return count(d->resets, out, len);
	case F_CLOCK:
	case F_VOLTAGE:
	case F_FAN:
	case NUM_FIELDS:
		break;
	}
	return text("", out, len);
}

static bool scaled(struct smi_u64 n, double unit, double *out)
{
	*out = (double)n.v * unit;
	return n.have;
}

bool smi_field_metric(size_t field, const struct smi_device *d, double *out)
{
	switch ((enum field)field) {
	case F_MEM_TOTAL:
		return scaled(d->hbm_total, 1, out);
	case F_MEM_USED:
		return scaled(d->hbm_used, 1, out);
	case F_BUSY:
		return scaled(d->busy_us, 1e-6, out);
	case F_TEMPERATURE:
		*out = (double)d->temperature_mc.v / 1000;
		return d->temperature_mc.have;
	case F_POWER:
		return scaled(d->power_uw, 1e-6, out);
	case F_CAP:
		return scaled(d->cap_uw, 1e-6, out);
	case F_ENERGY:
		return scaled(d->energy_uj, 1e-6, out);
	case F_ECC_CORRECTED:
		return scaled(d->ecc_corrected, 1, out);
	case F_ECC_UNCORRECTED:
		return scaled(d->ecc_uncorrectable, 1, out);
	case F_RETIRED:
		return scaled(d->retired_pages, 1, out);
	case F_RESETS:
		return scaled(d->resets, 1, out);
	default:
		return false;
	}
}

size_t smi_field_find(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < smi_num_fields; i++)
		if (strlen(smi_fields[i].name) == len && !strncmp(smi_fields[i].name, name, len))
			break;
	return i;
}
