// SPDX-License-Identifier: MIT
/* Fuzz target for device coredumps as zw-coredump reads them: an error that says where, or a dump that can be shown. */
#include <stdint.h>
#include <stdlib.h>

#include "coredump_file.h"
#include "zhenwu/zhenwu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct zw_error err = {0};
	struct coredump *dump;
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	if (coredump_parse((const char *)data, size, &dump, &err)) {
		if (!err.msg[0])
			abort();
		return 0;
	}
	out = open_memstream(&text, &len);
	if (!out)
		abort();
	coredump_print(dump, out);
	fclose(out);
	if (!len)
		abort();
	free(text);
	coredump_free(dump);
	return 0;
}
