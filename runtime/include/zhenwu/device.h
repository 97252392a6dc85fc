/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: finding and opening devices.
 */
#ifndef ZHENWU_DEVICE_H
#define ZHENWU_DEVICE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An open device. */
struct zw_dev;

/** How a device is reached. */
enum zw_transport_id {
	ZW_TRANSPORT_DRM = 1, /**< kernel driver, /dev/accel/accelN */
	ZW_TRANSPORT_SIM = 2, /**< device model inside this process */
};

/** One device node of the zhenwu driver. */
struct zw_dev_entry {
	char spec[16];         /**< for zw_dev_open(): "drm:0" */
	char node[64];         /**< "/dev/accel/accel0" */
	char bus[32];          /**< PCI address "0000:00:03.0"; empty when unknown */
	uint32_t driver_major; /**< version of the kernel driver */
	uint32_t driver_minor;
	int32_t open_error; /**< 0, or the -errno that opening it gives, e.g. -EACCES */
	uint32_t reserved;
};

/**
 * Lists the device nodes of the zhenwu kernel driver, ordered by node number.
 *
 * Nodes are found in /sys/class/accel and recognised by the driver's name, not by their path. A
 * node that cannot be opened is listed, with open_error, when sysfs names the driver. "drm:N"
 * counts in this list, after ZW_VISIBLE_DEVICES (see zhenwu(7)) picked and ordered what the process
 * may see.
 *
 * @param entries     array of max entries, may be NULL with max 0
 * @param entry_size  sizeof(struct zw_dev_entry)
 * @return            number of devices, which may exceed max; -EINVAL for a bad ZW_VISIBLE_DEVICES
 *                    or entry_size (rules as for `size`, see base.h); other -errno when sysfs cannot be read. No driver is 0, not an
 * error. Thread safe.
 */
ZW_API int zw_dev_list(struct zw_dev_entry *entries, size_t max, size_t entry_size);

/** Levels of log lines. */
enum zw_dev_log_level {
	ZW_DEV_LOG_ERROR = 0, /**< something broke */
	ZW_DEV_LOG_WARN = 1,  /**< a job did something wrong */
	ZW_DEV_LOG_INFO = 2,
	ZW_DEV_LOG_DEBUG = 3,
};

/**
 * sim: packets take their simulated time and compute nothing, memory keeps its contents, so that
 * models larger than the host can be asked what they take. All results are meaningless, all times and
 * counters are those of a device that computes. "auto" is then sim; -EOPNOTSUPP on drm.
 */
#define ZW_DEV_TIMING_ONLY (1u << 0)

/**
 * Keeps what the device does for queues of this zw_dev, for zw_dev_read_trace(). On drm it needs driver 2.7 and firmware that
 * makes records (-EOPNOTSUPP), and no privilege; the kernel's memory for them counts as the program's.
 */
#define ZW_DEV_TRACE (1u << 1)

/** Engine work runs on the command-processor thread, no engine threads. */
#define ZW_DEV_WORKERS_NONE (-1)

/** How to open a device. All zero (but size) takes the defaults. */
struct zw_dev_options {
	uint32_t size;  /**< sizeof(struct zw_dev_options) */
	uint32_t flags; /**< ZW_DEV_TIMING_ONLY, ZW_DEV_TRACE */
	/** sim: chip profile "810e", "m890", "c12", "a100-80g", "h100-sxm", or the path of a profile file (with a slash in
	 *  it). NULL: $ZW_PROFILE, else "810e". On drm the chip is what it is: a name that differs from it is -ENODEV, so that a caller who asks for a
	 *  profile never measures another one. */
	const char *profile;
	/** sim: firmware image. NULL: $ZW_FIRMWARE, else the installed or built one. */
	const char *firmware;
	/** sim: bytes of HBM, multiple of 2 MiB. 0: $ZW_HBM, else the profile's. Host memory is
	 * taken as it is touched. */
	uint64_t hbm_bytes;
	/** sim: most bytes of host memory that HBM may occupy; 0: no limit. */
	uint64_t hbm_backing_limit;
	/** sim: engine threads; 0: $ZW_WORKERS, else one per CPU (at most 8); ZW_DEV_WORKERS_NONE:
	 * none. */
	int32_t workers;
	uint32_t reserved; /**< must be 0 */
	/**
	 * Receives log lines, one at a time, from a thread of the library's own: with no lock held,
	 * so it may call any function of the device that does not wait for a job. Also from inside of
	 * zw_dev_open() and zw_dev_close(), where there is no device to call. NULL: $ZW_LOG decides,
	 * to stderr.
	 */
	void (*log)(void *opaque, enum zw_dev_log_level level, const char *msg);
	void *log_opaque;
	/**
	 * With ZW_DEV_TIMING_ONLY, in the place of routers: writes which experts each row has, ids
	 * [rows, k], below `experts` and those of a row distinct. Called on a thread of the device, in
	 * the order of its packets. NULL: the first k experts, for all rows.
	 */
	void (*route)(void *opaque, uint32_t rows, uint32_t experts, uint32_t k, int32_t *ids);
	/** sim, without ZW_DEV_TIMING_ONLY: told what routers chose, row r at ids + r * ld; may be NULL. */
	void (*routed)(void *opaque, uint32_t rows, uint32_t k, const int32_t *ids, uint64_t ld);
	void *route_opaque; /**< of both */
	/** sim: NULL, or lines of a profile file without `base` and `name`, which change figures of the
	 *  profile; a value "xN" is N times, "/N" a part of the figure as it was. */
	const char *profile_lines;
};

/**
 * Opens a device.
 *
 * @param spec  "drm" (same as "drm:0"), "drm:N", "sim", or "auto": the first drm device that can be
 * opened, sim when there is none at all; one that is there and cannot be opened is an error. NULL:
 * $ZW_DEVICE, else "auto".
 * @param opt   NULL for the defaults
 * @param err   may be NULL; one line that says what failed and on which device
 * @return 0; -ENODEV no such device, wrong driver version or other profile; -EACCES no permission;
 *         -ENOENT no firmware image; -EPROTO the firmware did not come up;
 *         -EOPNOTSUPP a flag that the transport has not got; -EINVAL, -ENOMEM
 * Thread safe. The handle must be closed by the process that opened it; it does not survive fork().
 */
ZW_API int zw_dev_open(const char *spec, const struct zw_dev_options *opt, struct zw_dev **out,
		       struct zw_error *err);

/** Closes. Every child object must be gone (-EBUSY otherwise, nothing closed). Not thread safe. */
ZW_API int zw_dev_close(struct zw_dev *dev);

/** What a device is. */
struct zw_dev_attrs {
	uint32_t size;          /**< in: sizeof; out: bytes filled */
	uint32_t transport;     /**< enum zw_transport_id */
	char transport_name[8]; /**< "drm", "sim" */
	char spec[16];          /**< names this device to zw_dev_open() */
	char profile_name[16];  /**< "810e" */
	uint32_t profile;       /**< enum zw_profile_id */
	uint32_t caps;          /**< ZW_CAP_* */
	uint32_t abi_version;   /**< ZW_ABI_VERSION of the device */
	uint32_t fw_version;    /**< ZW_FW_VERSION() of the running firmware */
	uint64_t hbm_size;      /**< bytes of HBM */
	uint64_t hbm_visible;   /**< bytes of it that ZW_BO_CPU_VISIBLE buffers can come from */
	uint64_t hbm_free;      /**< bytes not allocated at the moment, and on sim not more than
				 *   hbm_backing_limit leaves */
	uint32_t va_bits;       /**< width of device addresses */
	uint32_t page_size;     /**< unit of zw_vm_map() */
	uint32_t max_queues;
	uint32_t max_vms;
	uint32_t max_ring_slots; /**< most jobs of one queue in flight */
	uint32_t max_priority;   /**< highest priority this process may ask for */
	uint32_t reset_count;    /**< device resets so far */
	uint32_t driver_version; /**< drm: (major << 16) | minor of the kernel driver; sim: 0 */
	uint32_t workers;        /**< sim: engine threads; drm: 0 */
	uint32_t
		job_timeout_ms; /**< drm: longest wait of a job in a semaphore packet; sim: 0, no limit */
	uint64_t va_start;  /**< first device address that can be mapped */
	uint64_t va_end;    /**< end of those */
	uint8_t uuid[16];   /**< drm: names the card whatever its node; sim: zeroes */
	uint64_t dtypes;    /**< ZW_DT() set of what the engines compute with */
	uint64_t sram_size; /**< bytes of the on-chip buffer */
	uint32_t num_links; /**< ports to other cards that the chip has */
	uint32_t reserved;
	uint32_t timing_only; /**< sim: 1 with ZW_DEV_TIMING_ONLY */
	uint32_t
		idle_watts; /**< sim: what the chip takes by itself, beside the energy of jobs; drm: 0 */
	uint32_t tdp_watts; /**< sim: its limit; drm: 0 */
	uint32_t reserved2;
};

/** Reads the attributes. -ENODEV when the device is lost. Thread safe. */
ZW_API int zw_dev_get_attrs(struct zw_dev *dev, struct zw_dev_attrs *attrs);

/**
 * Checks one packet as zw_cmd_check_packet() does, and whether this device computes it: its profile's
 * data types, the operands and options its engines have. For backends that are asked what they
 * support.
 *
 * @param buf    the packet, 16-byte aligned
 * @param avail  bytes from there to the end of the buffer
 * @param what   may be NULL: receives the text
 * @return 0; a positive enum zw_reason, ZW_REASON_UNSUPPORTED for a well-formed packet the device does
 *         not compute. Thread safe; asks the device nothing.
 */
ZW_API int zw_dev_check_packet(const struct zw_dev *dev, const void *buf, size_t avail,
			       struct zw_error *what);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_DEVICE_H */
