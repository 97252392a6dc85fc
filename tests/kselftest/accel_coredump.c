// SPDX-License-Identifier: MIT
/*
 * Device coredumps (Documentation/coredump.md): when there is one, what is in it, and what is not.
 * Faults are injected by the test VM's host; elsewhere these tests are skipped. $ZW_KEEP_DUMPS is a
 * folder that gets a copy of each.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "zw_faults.h"

#define CLASS         "/sys/class/devcoredump"
#define TIMEOUT_PARAM "/sys/module/zhenwu/parameters/job_timeout_ms"
#define PATTERN       0x5a17c0deu /* of the job that fails */
#define SECRET        0x0badbeefu /* in the commands of somebody else */

FIXTURE(coredump)
{
	struct zw_client c, other;
	char pci[300];
	struct zw_buf hbm; /* of the first client */
};

/* Path of a file of the dump there is. */
static bool dump_path(char *path, size_t len, const char *file)
{
	DIR *dir = opendir(CLASS);
	struct dirent *e;
	bool found = false;

	while (dir && (e = readdir(dir))) {
		if (strncmp(e->d_name, "devcd", 5))
			continue;
		snprintf(path, len, CLASS "/%.200s/%s", e->d_name, file);
		found = true;
	}
	if (dir)
		closedir(dir);
	return found;
}

static void drop_dump(void)
{
	char path[300];

	for (int i = 0; i < PATIENT_TRIES && dump_path(path, sizeof(path), "data"); i++) {
		if (i % 10 == 0)
			zw_write_file(path, "1");
		usleep(100000);
	}
}

/* The dump there is in a while, to be freed; NULL when none came. */
static char *read_dump(unsigned int tries)
{
	char path[300], *text;
	size_t len = 0, room = 4 << 20;
	ssize_t n;
	int fd = -1;

	for (unsigned int i = 0; i < tries && fd < 0; i++) {
		if (i)
			usleep(100000);
		if (dump_path(path, sizeof(path), "data"))
			fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return NULL;
	text = malloc(room + 1);
	while ((n = read(fd, text + len, room - len)) > 0)
		len += n;
	text[len] = '\0';
	close(fd);
	return text;
}

static void keep(const char *text, const char *name)
{
	const char *dir = getenv("ZW_KEEP_DUMPS");
	char path[300];
	FILE *f;

	if (!dir || !text)
		return;
	snprintf(path, sizeof(path), "%s/%s.zwdump", dir, name);
	f = fopen(path, "w");
	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

FIXTURE_SETUP(coredump)
{
	const char *why = zw_faults_open(_metadata, &self->c, &self->other, self->pci);

	if (why)
		SKIP(return, "%s", why);
	if (access(CLASS, F_OK))
		SKIP(return, "a kernel without CONFIG_DEV_COREDUMP");
	ASSERT_TRUE(zw_buf(self->c.fd, self->c.vm, MIB,
			   DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE, 64 * MIB, &self->hbm));

	drop_dump();
}

FIXTURE_TEARDOWN(coredump)
{
	drop_dump();
	zw_faults_close(&self->c, &self->other);
}

static int submit_fill(struct zw_client *c, uint64_t va, uint32_t pattern)
{
	uint32_t from = c->pos;

	zw_put_fill(c->cmd.ptr, &c->pos, va, 4, pattern);
	return zw_client_submit(c, from, 0);
}

/* Has it the line; `line` without its end. */
static bool has_line(const char *text, const char *line)
{
	size_t len = strlen(line);

	for (const char *p = text; (p = strstr(p, line)); p += len)
		if ((p == text || p[-1] == '\n') && p[len] == '\n')
			return true;
	return false;
}

/* Has it the word, as one of the words of memory. */
static bool has_word(const char *text, uint32_t word)
{
	char hex[16];

	snprintf(hex, sizeof(hex), " %08x", word);
	return strstr(text, hex);
}

/* Has it a number that could be an address of the kernel. */
static bool has_kernel_address(const char *text)
{
	for (const char *p = text; (p = strstr(p, "ffff")); p++) {
		size_t n = strspn(p, "0123456789abcdef");

		if (n == 16)
			return true;
	}
	return false;
}

static void expect_whole(struct __test_metadata *_metadata, const char *text)
{
	static const char *const sections[] = {
		"[device]",   "[registers]", "[queues]",   "[failed]",  "[ring]", "[completions]",
		"[commands]", "[maps]",      "[requests]", "[replies]", "[log]",  "[end]",
	};
	const char *end = text;

	EXPECT_EQ(0, strncmp(text, "zhenwu-coredump 1\n", 18));
	for (unsigned int i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		EXPECT_TRUE(has_line(text, sections[i])) TH_LOG("%s", sections[i]);
		EXPECT_LT(end, strstr(text, sections[i])) TH_LOG("%s", sections[i]);
		end = strstr(text, sections[i]);
	}
	EXPECT_STREQ("[end]\n", end);
	EXPECT_FALSE(has_kernel_address(text));
	EXPECT_TRUE(has_line(text, "magic: 0x5550575a"));
}

TEST_F_TIMEOUT(coredump, hang, 400)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_queue_get_state st = {0};
	char path[300], line[64], *first, *second;
	struct stat mode;

	/* Somebody else's, and not to be seen. */
	ASSERT_EQ(0, submit_fill(o, o->cmd.va + 32768, SECRET));
	ASSERT_EQ(1, zw_client_outcome(o));
	ASSERT_EQ(0, submit_fill(c, self->hbm.va, 1));
	ASSERT_EQ(1, zw_client_outcome(c));
	ASSERT_EQ(0, zw_inject("hang"));
	ASSERT_EQ(0, submit_fill(c, self->hbm.va, PATTERN));
	ASSERT_EQ(-ETIME, zw_client_outcome(c));
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	first = read_dump(300);
	ASSERT_NE(NULL, first);
	keep(first, "hang");
	expect_whole(_metadata, first);
	EXPECT_TRUE(has_line(first, "cause: hang"));
	EXPECT_TRUE(has_line(first, "reset_reason: none"));
	EXPECT_TRUE(has_line(first, "suspect: 0"));
	snprintf(line, sizeof(line), "job: %llu", (unsigned long long)st.failed_seqno);
	EXPECT_TRUE(has_line(first, line)) TH_LOG("%s", line);
	EXPECT_TRUE(has_line(first, "map: 0x4000000 0x100000 rw hbm offset 0x0 of 0x100000"));
	/* The command buffer of the job, the rest of its buffer not; and where it is. */
	EXPECT_TRUE(has_word(first, PATTERN));
	EXPECT_FALSE(has_word(first, SECRET));
	snprintf(line, sizeof(line), "taken: %zu", sizeof(struct zw_pkt_fill));
	EXPECT_TRUE(has_line(first, line)) TH_LOG("%s", line);
	snprintf(line, sizeof(line), "va: 0x%llx",
		 (unsigned long long)(c->cmd.va + c->pos - sizeof(struct zw_pkt_fill)));
	EXPECT_TRUE(has_line(first, line)) TH_LOG("%s", line);
	ASSERT_TRUE(dump_path(path, sizeof(path), "data"));
	ASSERT_EQ(0, stat(path, &mode));
	EXPECT_EQ(0600, mode.st_mode & 0777);

	/* The first is kept until it was read. */
	EXPECT_TRUE(zw_client_goes_on(c));
	ASSERT_EQ(0, zw_inject("hang"));
	ASSERT_EQ(0, submit_fill(c, self->hbm.va, 2));
	ASSERT_EQ(-ETIME, zw_client_outcome(c));
	usleep(500000);
	second = read_dump(1);
	ASSERT_NE(NULL, second);
	EXPECT_STREQ(first, second);
	free(second);
	drop_dump();
	EXPECT_EQ(NULL, read_dump(1));

	/* Then there is room for the next. */
	EXPECT_TRUE(zw_client_goes_on(c));
	ASSERT_EQ(0, zw_inject("hang"));
	ASSERT_EQ(0, submit_fill(c, self->hbm.va, 3));
	ASSERT_EQ(-ETIME, zw_client_outcome(c));
	second = read_dump(300);
	ASSERT_NE(NULL, second);
	expect_whole(_metadata, second);
	EXPECT_FALSE(has_word(second, PATTERN));
	EXPECT_TRUE(zw_client_goes_on(c));
	free(second);
	free(first);
}

/* The queue that has jobs is where to look first. */
TEST_F_TIMEOUT(coredump, reset, 400)
{
	struct zw_client *o = &self->other;
	char *text;

	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, zw_inject("fw-trap"));
	EXPECT_EQ(-ECANCELED, zw_client_outcome(o));
	text = read_dump(300);
	ASSERT_NE(NULL, text);
	keep(text, "reset");
	expect_whole(_metadata, text);
	EXPECT_TRUE(has_line(text, "cause: reset"));
	EXPECT_TRUE(has_line(text, "reset_reason: fw_stopped"));
	EXPECT_TRUE(has_line(text, "suspect: 1"));
	EXPECT_TRUE(has_line(text, "boot_status: 0x5"));
	EXPECT_TRUE(has_line(text, "fw_trap_cause: 0x80000002"));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	free(text);
}

/* A job ends by what is not its fault. */
TEST_F_TIMEOUT(coredump, job, 400)
{
	struct zw_client *c = &self->c;
	uint64_t addr = zw_bo_address(MIB);
	char text[128], *dump;

	ASSERT_NE(0, addr);
	snprintf(text, sizeof(text), "ecc-uncorrected=%#llx", (unsigned long long)addr);
	ASSERT_EQ(0, zw_inject(text));
	ASSERT_EQ(0, submit_fill(c, self->hbm.va, PATTERN));
	EXPECT_EQ(-EIO, zw_client_outcome(c));
	dump = read_dump(300);
	ASSERT_NE(NULL, dump);
	keep(dump, "job");
	expect_whole(_metadata, dump);
	EXPECT_TRUE(has_line(dump, "cause: job"));
	snprintf(text, sizeof(text), "status: %u", ZW_JOB_ECC);
	EXPECT_TRUE(has_line(dump, text));
	EXPECT_TRUE(has_line(dump, "fault_va: 0x4000000"));
	EXPECT_TRUE(has_word(dump, PATTERN));
	EXPECT_TRUE(zw_client_goes_on(c));
	free(dump);
}

/* What any client can do to itself takes nobody's dump. */
TEST_F_TIMEOUT(coredump, not_for_bad_jobs, 240)
{
	struct zw_client *c = &self->c;
	char timeout[32];
	uint32_t from;

	ASSERT_EQ(0, submit_fill(c, 0x123456789000, PATTERN));
	EXPECT_EQ(-EIO, zw_client_outcome(c));
	EXPECT_TRUE(zw_client_goes_on(c));
	from = c->pos;
	zw_put_raw(c->cmd.ptr, &c->pos, 0xfff0, 64);
	ASSERT_EQ(0, zw_client_submit(c, from, 0));
	EXPECT_EQ(-EIO, zw_client_outcome(c));
	/* Nor does one that waits for what nobody will do. */
	EXPECT_TRUE(zw_client_goes_on(c));
	ASSERT_EQ(0, zw_read_file(TIMEOUT_PARAM, timeout, sizeof(timeout)));
	ASSERT_EQ(0, zw_write_file(TIMEOUT_PARAM, "2000"));
	EXPECT_EQ(0, zw_client_submit_stuck(c));
	EXPECT_EQ(-ETIME, zw_client_outcome(c));
	EXPECT_EQ(0, zw_write_file(TIMEOUT_PARAM, timeout));
	usleep(500000);
	EXPECT_EQ(NULL, read_dump(1));
}

/* Memory of somebody else's device is not looked at; here it is udmabuf's, which would not mind. */
TEST_F_TIMEOUT(coredump, not_imported_memory, 400)
{
	struct udmabuf_create u = {.flags = UDMABUF_FLAGS_CLOEXEC, .size = 4096};
	struct zw_client *c = &self->c;
	int dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), buf;
	uint32_t handle, pos = 0;
	char *text;
	void *mem;

	if (dev < 0)
		SKIP(return, "no udmabuf to import");
	u.memfd = memfd_create("commands", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_EQ(0, ftruncate(u.memfd, 4096));
	ASSERT_EQ(0, fcntl(u.memfd, F_ADD_SEALS, F_SEAL_SHRINK));
	mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, u.memfd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	buf = ioctl(dev, UDMABUF_CREATE, &u);
	ASSERT_LE(0, buf);
	ASSERT_EQ(0, drmPrimeFDToHandle(c->fd, buf, &handle));
	ASSERT_EQ(0, zw_bind(c->fd, c->vm, handle, 0, 256 * MIB, 4096, 0));
	zw_put_fill(mem, &pos, self->hbm.va, 4, PATTERN);
	ASSERT_EQ(0, zw_inject("hang"));
	ASSERT_EQ(0, zw_submit(c->fd, c->queue, 256 * MIB, pos, 0, c->timeline, ++c->point));
	ASSERT_EQ(-ETIME, zw_client_outcome(c));
	text = read_dump(300);
	ASSERT_NE(NULL, text);
	expect_whole(_metadata, text);
	EXPECT_TRUE(has_line(text, "va: 0x10000000"));
	EXPECT_TRUE(has_line(text, "taken: 0"));
	EXPECT_FALSE(has_word(text, PATTERN));
	free(text);
	close(buf);
	close(u.memfd);
	close(dev);
}

/* It outlives the driver, and does not keep it. */
TEST_F_TIMEOUT(coredump, stays_after_unbind, 400)
{
	struct zw_client *c = &self->c;
	const char *bdf = strrchr(self->pci, '/') + 1;
	char *text;

	ASSERT_EQ(0, zw_inject("hang"));
	ASSERT_EQ(0, submit_fill(c, self->hbm.va, PATTERN));
	ASSERT_EQ(-ETIME, zw_client_outcome(c));
	text = read_dump(300);
	ASSERT_NE(NULL, text);
	free(text);
	ASSERT_EQ(0, zw_write_file("/sys/bus/pci/drivers/zhenwu/unbind", bdf));
	text = read_dump(1);
	ASSERT_NE(NULL, text);
	expect_whole(_metadata, text);
	free(text);
	ASSERT_EQ(0, zw_write_file("/sys/bus/pci/drivers/zhenwu/bind", bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_HARNESS_MAIN
