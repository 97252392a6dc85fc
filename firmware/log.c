/* SPDX-License-Identifier: MIT */
/*
 * Log ring in the shared window. Readers see log_head, a running count of bytes; they may lose a
 * line that is overwritten while they read, never more.
 */
#include <stdarg.h>

#include "log.h"

#define LOG_OFFSET 0x1000u
#define LOG_SIZE   0x8000u

volatile struct zw_fw_shared *const fw_shared =
	(volatile struct zw_fw_shared *)(uintptr_t)ZW_SOC_SHARED_BASE;

static uint32_t head;

static void put(char c)
{
	volatile char *ring = (volatile char *)(uintptr_t)(ZW_SOC_SHARED_BASE + LOG_OFFSET);

	ring[head++ & (LOG_SIZE - 1)] = c;
}

static void put_num(uint64_t v, unsigned int base)
{
	char tmp[20];
	int n = 0;

	do {
		tmp[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n)
		put(tmp[--n]);
}

void log_init(void)
{
	fw_shared->size = sizeof(struct zw_fw_shared);
	fw_shared->log_offset = LOG_OFFSET;
	fw_shared->log_size = LOG_SIZE;
	fw_shared->log_head = 0;
	fw_shared->magic = ZW_FW_SHARED_MAGIC;
}

void fw_log(const char *fmt, ...)
{
	va_list ap;
	uint64_t t = now_us();

	put('[');
	put_num(t / 1000000, 10);
	put('.');
	for (uint32_t d = 100000; d; d /= 10)
		put('0' + t % 1000000 / d % 10);
	put(']');
	put(' ');
	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		bool wide = false;

		if (*fmt != '%') {
			put(*fmt);
			continue;
		}
		if (*++fmt == 'l') {
			wide = true;
			fmt++;
		}
		switch (*fmt) {
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(*s);
			break;
		case 'u':
			put_num(wide ? va_arg(ap, unsigned long) : va_arg(ap, unsigned int), 10);
			break;
		case 'x':
			put_num(wide ? va_arg(ap, unsigned long) : va_arg(ap, unsigned int), 16);
			break;
		case 'd': {
			long v = wide ? va_arg(ap, long) : va_arg(ap, int);

			if (v < 0)
				put('-');
			put_num(v < 0 ? -(unsigned long)v : (unsigned long)v, 10);
			break;
		}
		default:
			put('%');
			put(*fmt);
		}
	}
	va_end(ap);
	put('\n');
	fw_shared->log_head = head;
}
