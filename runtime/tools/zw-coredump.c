// SPDX-License-Identifier: MIT
/* zw-coredump: what a device was doing when it failed. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coredump_file.h"
#include "read_text.h"
#include "tool_output.h"
#include "zhenwu/zhenwu.h"

static const char usage[] =
	"usage: zw-coredump [FILE]\n"
	"Shows a coredump of a Zhenwu device (standard input without FILE), as the kernel\n"
	"gives it in /sys/class/devcoredump/devcd*/data, with its command buffer disassembled.\n"
	"Exit status: 0 shown, 1 not a dump, damaged or unreadable, 2 usage.\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
	struct coredump *dump = NULL;
	struct zw_error err = {0};
	const char *path = "-";
	char *text = NULL;
	size_t len = 0;
	int opt, ret;

	opt = getopt_long(argc, argv, "", options, NULL);
	if (opt != -1 || argc - optind > 1) {
		fputs(usage, opt == 'h' ? stdout : stderr);
		return opt == 'h' ? tool_finish("zw-coredump", 0) : 2;
	}
	if (optind < argc)
		path = argv[optind];
	ret = read_text(path, COREDUMP_MAX_BYTES, &text, &len);
	if (ret) {
		fprintf(stderr, "zw-coredump: %s: %s\n", path, strerror(-ret));
		return 1;
	}
	ret = coredump_parse(text, len, &dump, &err);
	free(text);
	if (ret) {
		fprintf(stderr, "zw-coredump: %s: %s\n", path, err.msg);
		return 1;
	}
	coredump_print(dump, stdout);
	coredump_free(dump);
	return tool_finish("zw-coredump", 0);
}
