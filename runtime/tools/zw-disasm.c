// SPDX-License-Identifier: MIT
/* zw-disasm: command buffers as text. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet_table.h"
#include "tool_output.h"
#include "zhenwu/zhenwu.h"

static const char usage[] =
	"usage: zw-disasm [FILE]\n"
	"       zw-disasm --table\n"
	"Shows a command buffer (raw bytes; standard input without FILE) packet by packet.\n"
	"--table shows which packets there are, with their operands, as a table in Markdown.\n"
	"Exit status: 0 well formed, 1 malformed or unreadable, 2 usage.\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'}, {"table", no_argument, NULL, 't'}, {0}};
	uint8_t *buf = malloc(ZW_CMD_MAX_BYTES + 1);
	FILE *in = stdin;
	size_t bytes;
	int opt, bad;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 't')
			print_packet_table(stdout);
		else
			fputs(usage, opt == 'h' ? stdout : stderr);
		free(buf);
		return opt == '?' ? 2 : tool_finish("zw-disasm", 0);
	}
	if (argc - optind > 1) {
		fputs(usage, stderr);
		free(buf);
		return 2;
	}
	if (optind < argc)
		in = fopen(argv[optind], "rb");
	if (!in || !buf) {
		fprintf(stderr, "zw-disasm: %s: %s\n", optind < argc ? argv[optind] : "stdin",
			strerror(errno));
		free(buf);
		return 1;
	}
	bytes = fread(buf, 1, ZW_CMD_MAX_BYTES + 1, in);
	if (ferror(in) || bytes > ZW_CMD_MAX_BYTES) {
		fprintf(stderr, "zw-disasm: %s\n",
			ferror(in) ? strerror(errno)
				   : "longer than the 16 MiB of a command buffer");
		free(buf);
		return 1;
	}
	bad = zw_cmd_dump(stdout, buf, bytes);
	free(buf);
	return tool_finish("zw-disasm", bad ? 1 : 0);
}
