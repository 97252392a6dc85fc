// SPDX-License-Identifier: MIT
/* What the device log says about a job that failed. */
#include <inttypes.h>
#include <stdio.h>

#include "zw_cp_int.h"

static const char *status_name(uint32_t status)
{
	static const char *const names[] = {
		[ZW_JOB_OK] = "ok",
		[ZW_JOB_INVALID] = "invalid packet",
		[ZW_JOB_FAULT] = "MMU fault",
		[ZW_JOB_CANCELED] = "canceled",
		[ZW_JOB_DATA] = "bad data",
		[ZW_JOB_NO_MEMORY] = "host out of memory",
		[ZW_JOB_INTERNAL] = "internal error",
		[ZW_JOB_ECC] = "uncorrectable memory error",
	};

	return status < sizeof(names) / sizeof(names[0]) ? names[status] : "?";
}

static const char *reason_name(uint32_t reason)
{
	static const char *const names[] = {
		"",           "command size", "packet size",
		"opcode",     "flags",        "reserved field not zero",
		"dtype",      "unsupported",  "ndim",
		"shape",      "limit",        "stride",
		"align",      "overlap",      "value",
		"row count",  "operand",      "index",
		"ring entry",
	};

	return reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "?";
}

void zw_cp_log_failure(const struct zw_cp_config *cfg, const struct zw_soc_job *job,
		       const char *where)
{
	char msg[256], why[80] = "", tag[24] = "";

	if (!cfg->log)
		return;
	if (job->status == ZW_JOB_FAULT || job->status == ZW_JOB_ECC)
		snprintf(why, sizeof(why), ", fault %u at 0x%" PRIx64 " (%s), vm %u", job->reason,
			 job->fault_va, job->fault_access == ZW_ACCESS_WRITE ? "write" : "read",
			 job->vm);
	else if (job->reason)
		snprintf(why, sizeof(why), ": %s", reason_name(job->reason));
	if (zw_cp_job_tag(job))
		snprintf(tag, sizeof(tag), " tag 0x%" PRIx32, zw_cp_job_tag(job));
	snprintf(msg, sizeof(msg), "queue %u job %" PRIu64 " packet %u %s%s: %s%s", job->queue,
		 job->seqno, job->packet_index, where, tag, status_name(job->status), why);
	cfg->log(cfg->log_opaque, msg);
}
