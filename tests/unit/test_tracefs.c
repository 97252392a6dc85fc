// SPDX-License-Identifier: MIT
/* What a killed tool left in tracefs: instances are folders by name, and any folder does for them. */
#include "llm_test.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run_tracefs.h"

static unsigned long long own_namespace(void)
{
	unsigned long long ns = 0;
	char text[64] = "";

	assert_true(readlink("/proc/self/ns/pid", text, sizeof(text) - 1) > 0);
	assert_int_equal(sscanf(text, "pid:[%llu]", &ns), 1);
	return ns;
}

/* Of a process that is gone, and reaped. */
static long dead_pid(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return pid;
}

static void test_sweep(void **state)
{
	unsigned long long ns = own_namespace();
	char *dir = scratch_new(), path[8][512];
	long dead = dead_pid();

	(void)state;
	snprintf(path[0], 512, "%s/zw-run-%llu-%ld", dir, ns, dead);
	/* What stays: of the living, of another namespace, of another tool or program, no pid at all. */
	snprintf(path[1], 512, "%s/zw-run-%llu-%ld", dir, ns, (long)getpid());
	snprintf(path[2], 512, "%s/zw-run-%llu-%ld", dir, ns + 1, dead);
	snprintf(path[3], 512, "%s/zw-bench-%llu-%ld", dir, ns, dead);
	snprintf(path[4], 512, "%s/zw-run-%ld", dir, dead);
	snprintf(path[5], 512, "%s/zw-run-%llu-%ldx", dir, ns, dead);
	snprintf(path[6], 512, "%s/zw-run-%llu-0", dir, ns);
	snprintf(path[7], 512, "%s/mine", dir);
	for (int i = 0; i < 8; i++)
		assert_int_equal(mkdir(path[i], 0700), 0);
	tracefs_sweep(dir, "zw-run");
	for (int i = 0; i < 8; i++)
		if (access(path[i], F_OK) != (i ? 0 : -1))
			fail_msg("%s is %s", path[i], i ? "gone" : "there");
	tracefs_sweep("/nonexistent", "zw-run");
	for (int i = 1; i < 8; i++)
		assert_int_equal(rmdir(path[i]), 0);
	scratch_free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sweep)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
