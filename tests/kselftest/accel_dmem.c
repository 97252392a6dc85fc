// SPDX-License-Identifier: MIT
/*
 * HBM that cgroups account for: what counts, who has to give at a limit, and who does not. Needs a kernel with
 * CONFIG_CGROUP_DMEM.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "zw_cgroup.h"
#include "zw_evict.h"

FIXTURE(dmem)
{
	struct zw_client c;
	struct group g;
	char region[64];
};

/* A number of ours in one of the cgroup's files, whose lines are "region value". */
static uint64_t dmem_of(struct group *g, const char *file, const char *region)
{
	FILE *f = fopen(in_group(g, file), "re");
	char name[64], value[32];
	uint64_t n = UINT64_MAX;

	while (f && fscanf(f, "%63s %31s", name, value) == 2)
		if (!strcmp(name, region))
			n = strtoull(value, NULL, 10);
	if (f)
		fclose(f);
	return n;
}

static int set(struct group *g, const char *file, const char *region, uint64_t bytes)
{
	char text[128];

	snprintf(text, sizeof(text), "%s %" PRIu64, region, bytes);
	return zw_write_file(in_group(g, file), text);
}

FIXTURE_SETUP(dmem)
{
	char path[300];

	if (!zw_client_open(&self->c))
		SKIP(return, KSFT_SKIP_NO_DEVICE);
	if (geteuid() || !group_open(&self->g, "dmem")) {
		zw_client_close(&self->c);
		SKIP(return, "no cgroups with device memory, or not root");
	}
	ASSERT_EQ(zw_pci_path(path, sizeof(path)), 0);
	snprintf(self->region, sizeof(self->region), "drm/%.40s/hbm", strrchr(path, '/') + 1);
}

/* The test itself was in the cgroup: it has to leave first. */
FIXTURE_TEARDOWN(dmem)
{
	char root[96];

	snprintf(root, sizeof(root), "%s/cgroup.procs", self->g.root);
	EXPECT_EQ(zw_write_file(root, "0"), 0);
	zw_client_close(&self->c);
	group_close(&self->g);
}

static int enter(struct group *g)
{
	return zw_write_file(in_group(g, "cgroup.procs"), "0");
}

static int leave(struct group *g)
{
	char root[96];

	snprintf(root, sizeof(root), "%s/cgroup.procs", g->root);
	return zw_write_file(root, "0");
}

TEST_F(dmem, counts)
{
	uint64_t capacity;
	struct group top = self->g;
	uint32_t bo, rest, more;

	snprintf(top.dir, sizeof(top.dir), "%s", top.root);
	capacity = dmem_of(&top, "dmem.capacity", self->region);
	EXPECT_GE(capacity, hbm_free(self->c.fd));
	ASSERT_NE(capacity, UINT64_MAX);
	rest = take_rest(self->c.fd);
	ASSERT_NE(rest, 0);
	ASSERT_EQ(enter(&self->g), 0);
	bo = make(&self->c, BOTH, VA, 1);
	ASSERT_NE(bo, 0);
	EXPECT_EQ(dmem_of(&self->g, "dmem.current", self->region), SIZE);
	/* Not in HBM it does not count; back there it does. */
	ASSERT_EQ(leave(&self->g), 0);
	more = zw_bo(self->c.fd, 3 * SIZE, STAYS);
	ASSERT_NE(more, 0);
	EXPECT_EQ(placement(self->c.fd, bo), DRM_ZHENWU_BO_SYSTEM);
	EXPECT_EQ(dmem_of(&self->g, "dmem.current", self->region), 0);
	ASSERT_EQ(zw_bo_close(self->c.fd, more), 0);
	ASSERT_EQ(enter(&self->g), 0);
	EXPECT_TRUE(holds(&self->c, VA, 1));
	EXPECT_EQ(placement(self->c.fd, bo), DRM_ZHENWU_BO_HBM);
	EXPECT_EQ(dmem_of(&self->g, "dmem.current", self->region), SIZE);
	zw_unbind(self->c.fd, self->c.vm, VA, SIZE);
	ASSERT_EQ(zw_bo_close(self->c.fd, bo), 0);
	EXPECT_EQ(dmem_of(&self->g, "dmem.current", self->region), 0);
	/* Memory of the system is another controller's. */
	bo = zw_bo(self->c.fd, SIZE, DRM_ZHENWU_BO_SYSTEM);
	EXPECT_EQ(dmem_of(&self->g, "dmem.current", self->region), 0);
	zw_bo_close(self->c.fd, bo);
}

/* At the limit one's own buffers go that may, not others', and nothing comes back. */
TEST_F(dmem, limit)
{
	struct drm_zhenwu_bo_create b = {.size = SIZE, .flags = STAYS};
	uint32_t others = make(&self->c, BOTH, VA, 1), own, stays;

	ASSERT_NE(others, 0);
	ASSERT_EQ(set(&self->g, "dmem.max", self->region, SIZE), 0);
	ASSERT_EQ(enter(&self->g), 0);
	own = make(&self->c, BOTH, VA + SIZE, 100);
	ASSERT_NE(own, 0);
	EXPECT_EQ(placement(self->c.fd, own), DRM_ZHENWU_BO_HBM);
	/* One that may be elsewhere is made there. */
	EXPECT_EQ(placement(self->c.fd, zw_bo(self->c.fd, SIZE, BOTH)), DRM_ZHENWU_BO_SYSTEM);
	stays = zw_bo(self->c.fd, SIZE, STAYS);
	EXPECT_NE(stays, 0);
	EXPECT_EQ(placement(self->c.fd, own), DRM_ZHENWU_BO_SYSTEM);
	EXPECT_EQ(placement(self->c.fd, others), DRM_ZHENWU_BO_HBM);
	EXPECT_EQ(dmem_of(&self->g, "dmem.current", self->region), SIZE);
	EXPECT_TRUE(holds(&self->c, VA + SIZE, 100));
	EXPECT_EQ(placement(self->c.fd, own), DRM_ZHENWU_BO_SYSTEM);
	/* There is nothing more to be had. */
	EXPECT_EQ(zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_BO_CREATE, &b), -ENOSPC);
	EXPECT_EQ(placement(self->c.fd, others), DRM_ZHENWU_BO_HBM);
	EXPECT_TRUE(holds(&self->c, VA, 1));
}

/* A limit below what is used: it is given back at once. */
TEST_F(dmem, lowered)
{
	uint32_t bo;

	ASSERT_EQ(enter(&self->g), 0);
	bo = make(&self->c, BOTH, VA, 1);
	ASSERT_NE(bo, 0);
	EXPECT_EQ(dmem_of(&self->g, "dmem.current", self->region), SIZE);
	ASSERT_EQ(set(&self->g, "dmem.max", self->region, SIZE / 2), 0);
	EXPECT_EQ(placement(self->c.fd, bo), DRM_ZHENWU_BO_SYSTEM);
	EXPECT_EQ(dmem_of(&self->g, "dmem.current", self->region), 0);
	EXPECT_TRUE(holds(&self->c, VA, 1));
}

/* What is protected is left to its owner: by dmem.min always, by dmem.low while others have something. */
TEST_F(dmem, protected)
{
	uint32_t first, second, more;

	ASSERT_NE(take_rest(self->c.fd), 0);
	ASSERT_EQ(set(&self->g, "dmem.low", self->region, SIZE), 0);
	ASSERT_EQ(enter(&self->g), 0);
	first = make(&self->c, BOTH, VA, 1);
	ASSERT_EQ(leave(&self->g), 0);
	second = make(&self->c, BOTH, VA + SIZE, 100);
	ASSERT_NE(second, 0);
	/* The first is older, and would go before. */
	more = zw_bo(self->c.fd, 2 * SIZE, STAYS);
	ASSERT_NE(more, 0);
	EXPECT_EQ(placement(self->c.fd, first), DRM_ZHENWU_BO_HBM);
	EXPECT_EQ(placement(self->c.fd, second), DRM_ZHENWU_BO_SYSTEM);
	/* There is nothing else. */
	ASSERT_NE(zw_bo(self->c.fd, SIZE, STAYS), 0);
	EXPECT_EQ(placement(self->c.fd, first), DRM_ZHENWU_BO_SYSTEM);
	ASSERT_EQ(zw_bo_close(self->c.fd, more), 0);
	/* Both come back for who is in it, and count as his: one of them has to stay. */
	ASSERT_EQ(enter(&self->g), 0);
	EXPECT_TRUE(holds(&self->c, VA, 1));
	ASSERT_EQ(leave(&self->g), 0);
	EXPECT_EQ(dmem_of(&self->g, "dmem.current", self->region), 2 * SIZE);
	ASSERT_EQ(set(&self->g, "dmem.min", self->region, SIZE), 0);
	EXPECT_EQ(zw_bo(self->c.fd, 2 * SIZE, STAYS), 0);
	EXPECT_EQ(errno, ENOSPC);
	EXPECT_EQ(dmem_of(&self->g, "dmem.current", self->region), SIZE);
}

TEST_HARNESS_MAIN
