// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device of the KUnit tests: what the driver allocates for one, over ordinary memory.
 */

#include <linux/device.h>
#include <linux/pm_runtime.h>
#include <linux/vmalloc.h>

#include <drm/drm_drv.h>

#include "../zhenwu_client.h"
#include "../zhenwu_device.h"
#include "zhenwu_kunit.h"

static const struct drm_driver zhenwu_kunit_driver = {
	.name = "zhenwu-kunit",
	.desc = "no device",
	.driver_features = DRIVER_COMPUTE_ACCEL | DRIVER_GEM,
};

static int zhenwu_kunit_make(struct zhenwu_kunit *k)
{
	struct zhenwu_device *zdev;
	int ret;

	k->aperture = vzalloc(ZHENWU_KUNIT_APERTURE);
	k->regs = vzalloc(ZHENWU_KUNIT_REGS);
	if (!k->aperture || !k->regs)
		return -ENOMEM;
	k->parent = root_device_register("zhenwu-kunit");
	if (IS_ERR(k->parent)) {
		ret = PTR_ERR(k->parent);
		k->parent = NULL;
		return ret;
	}
	/* Awake whenever somebody asks for it. */
	pm_runtime_no_callbacks(k->parent);
	pm_runtime_set_active(k->parent);
	pm_runtime_enable(k->parent);
	zdev = devm_drm_dev_alloc(k->parent, &zhenwu_kunit_driver, struct zhenwu_device, drm);
	if (IS_ERR(zdev))
		return PTR_ERR(zdev);
	k->zdev = zdev;
	zdev->aperture = (void __iomem __force *)k->aperture;
	zdev->regs = (void __iomem __force *)k->regs;
	zdev->info.hbm_size = ZHENWU_KUNIT_HBM;
	zdev->info.aperture_size = ZHENWU_KUNIT_APERTURE;
	zdev->info.num_vms = 16;
	zdev->info.num_queues = 16;
	zhenwu_usage_init(zdev);
	zhenwu_ras_init(zdev);
	init_waitqueue_head(&zdev->reset.wait);
	mutex_init(&zdev->bos.lock);
	ret = zhenwu_purge_init(zdev);
	if (!ret)
		ret = zhenwu_hbm_init(zdev);
	if (!ret)
		ret = zhenwu_clients_init(zdev);
	if (ret)
		return ret;
	k->client = zhenwu_client_create(zdev);
	return k->client ? 0 : -ENOMEM;
}

/**
 * zhenwu_kunit_init() - make the device
 * @test: test, whose private data is a &struct zhenwu_kunit then
 *
 * Return: 0 or a negative error.
 */
int zhenwu_kunit_init(struct kunit *test)
{
	test->priv = kunit_kzalloc(test, sizeof(struct zhenwu_kunit), GFP_KERNEL);
	return test->priv ? zhenwu_kunit_make(test->priv) : -ENOMEM;
}

/**
 * zhenwu_kunit_exit() - free it
 * @test: test
 */
void zhenwu_kunit_exit(struct kunit *test)
{
	struct zhenwu_kunit *k = test->priv;

	if (!k)
		return;
	if (k->client)
		zhenwu_client_put(k->client);
	if (k->zdev)
		zhenwu_hbm_stop(k->zdev);
	/* The device goes with it. */
	if (k->parent) {
		pm_runtime_disable(k->parent);
		root_device_unregister(k->parent);
	}
	vfree(k->regs);
	vfree(k->aperture);
}
