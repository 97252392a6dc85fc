/* SPDX-License-Identifier: MIT */
/*
 * zw-smi: what it knows of devices and processes, and how it shows that.
 *
 * Everything is read from sysfs, hwmon and /proc/<pid>/fdinfo, so it works without rights, without
 * waking a device up, and while one is in a reset. What is not there is shown as N/A.
 */
#ifndef ZW_SMI_H
#define ZW_SMI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SMI_MAX_DEVICES 64
#define SMI_TEXT        64

/* A number that may be missing. */
struct smi_u64 {
	bool have;
	uint64_t v;
};
struct smi_i64 {
	bool have;
	int64_t v;
};

/* A device as it is at one moment; text is "" where it is missing. */
struct smi_device {
	unsigned int index; /* N of accelN */
	char path[512];     /* its folder in sysfs, below the root */
	char bdf[32];
	char profile[SMI_TEXT], uuid[SMI_TEXT], health[SMI_TEXT];
	char driver_version[SMI_TEXT], fw_version[SMI_TEXT], abi_version[SMI_TEXT];
	char link_speed[SMI_TEXT];
	struct smi_u64 link_width, numa_node;
	struct smi_u64 hbm_total, hbm_used; /* bytes */
	uint64_t time_ns;                   /* CLOCK_MONOTONIC, when busy_us was read */
	struct smi_u64 busy_us, resets, links;
	struct smi_u64 ecc_corrected, ecc_uncorrectable, retired_pages;
	struct smi_i64 temperature_mc; /* thousandths of a degree */
	struct smi_u64 power_uw, cap_uw, energy_uj;
	struct smi_u64 busy_permille; /* since the snapshot before */
};

/* A process with a device open; one for each device it has open. */
struct smi_process {
	uint32_t pid;
	char name[SMI_TEXT];
	char bdf[32];
	uint64_t busy_ns, device_ns, jobs;
	uint64_t hbm, memory; /* bytes */
	struct smi_u64 busy_permille;
};

struct smi_snapshot {
	uint64_t time_ns; /* CLOCK_MONOTONIC, when processes were read */
	size_t num_devices, num_processes;
	struct smi_device devices[SMI_MAX_DEVICES];
	struct smi_process *processes;
};

/* -- smi_read.c ------------------------------------------------------------------------------- */

/*
 * Reads everything below `root` ("" for this machine): devices whose index, PCI address or UUID is
 * `which`, or all when that is NULL, in the order of their numbers. 0 or -errno. The snapshot
 * is freed with smi_free(), also after an error.
 */
int smi_read(const char *root, const char *which, struct smi_snapshot *s);
void smi_free(struct smi_snapshot *s);
/* Works out how busy they were since `before`; what was not there then stays unknown. */
void smi_rates(const struct smi_snapshot *before, struct smi_snapshot *s);
/* Two snapshots `period_ms` apart, the first forgotten; with 0 one, and nobody knows how busy. */
int smi_read_rates(const char *root, const char *which, unsigned int period_ms,
		   struct smi_snapshot *s);

/* -- smi_fields.c ----------------------------------------------------------------------------- */

struct smi_field {
	const char *name; /* stable */
	const char *unit; /* "" for none */
	const char *help;
	/* Prometheus: name and type, NULL when it is no metric. */
	const char *metric, *type;
};

extern const struct smi_field smi_fields[];
extern const size_t smi_num_fields;

/* Its value as text; false, and "N/A", when it is missing. */
bool smi_field_text(size_t field, const struct smi_device *d, char *out, size_t len);
/* The same as a metric, in its base unit; false when it is missing. */
bool smi_field_metric(size_t field, const struct smi_device *d, double *out);
/* Field of a name, or smi_num_fields. */
size_t smi_field_find(const char *name, size_t len);

/* -- output ----------------------------------------------------------------------------------- */

void smi_print_table(const struct smi_snapshot *s);
void smi_print_all(const struct smi_snapshot *s);
/* `names`: fields with commas in between, checked by smi_check_query(). */
void smi_print_csv(const struct smi_snapshot *s, const char *names, bool header, bool units);
bool smi_check_query(const char *names);
/* 0 or -ENOMEM. */
int smi_print_json(const struct smi_snapshot *s);
void smi_print_prometheus(const struct smi_snapshot *s);
void smi_print_firmware(const struct smi_snapshot *s);
void smi_print_topology(const struct smi_snapshot *s);
void smi_print_dmon(const struct smi_snapshot *s, bool header);
void smi_print_pmon(const struct smi_snapshot *s, bool header);
/* Until q or an interrupt. The exit status. */
int smi_top(const char *root, const char *which, unsigned int period_ms);

#endif
