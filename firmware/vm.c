/* SPDX-License-Identifier: MIT */
/* Address spaces as the driver handles them: roots, and invalidations that take their time. */
#include "ids.h"
#include "log.h"
#include "reply.h"
#include "vm.h"

struct tlb_wait {
	bool used;
	uint32_t vm;
	uint32_t type;
	uint32_t reply_to;
};

static struct ids roots;
static uint16_t users[ZW_MAX_VMS];
static struct tlb_wait tlb_waits[ZW_MBOX_SLOTS];

static bool in_range(uint32_t vm)
{
	return vm < ZW_MAX_VMS && vm < rd32(ZW_SOC_NUM_VMS);
}

bool vm_exists(uint32_t vm)
{
	return in_range(vm) && ids_has(&roots, vm);
}

void vm_get(uint32_t vm)
{
	users[vm]++;
}

void vm_put(uint32_t vm)
{
	users[vm]--;
}

static void tlb_wait_add(uint32_t vm, uint32_t type, uint32_t reply_to)
{
	for (uint32_t i = 0; i < ZW_MBOX_SLOTS; i++) {
		if (!tlb_waits[i].used) {
			tlb_waits[i] = (struct tlb_wait){true, vm, type, reply_to};
			return;
		}
	}
	/* Cannot happen with a driver that keeps to half a ring of requests. */
	fw_log("vm: too many invalidations outstanding");
	mbox_reply(type, reply_to, ZW_MSG_ERR_BUSY, NULL, 0);
}

void vm_tlb_done(void)
{
	for (uint32_t i = 0; i < ZW_MBOX_SLOTS; i++) {
		struct tlb_wait *w = &tlb_waits[i];

		if (w->used && !(rd64(ZW_SOC_MMU_BUSY(w->vm / ZW_SOC_BANK_SIZE)) >>
					 (w->vm % ZW_SOC_BANK_SIZE) &
				 1)) {
			w->used = false;
			mbox_reply(w->type, w->reply_to, ZW_MSG_OK, NULL, 0);
		}
	}
}

uint32_t vm_set(const struct zw_msg_set_vm *m)
{
	uint64_t root = u64_of(m->root_lo, m->root_hi);

	if (!in_range(m->vm) || root & 0xfff)
		return ZW_MSG_ERR_ARG;
	if (ids_has(&roots, m->vm))
		return ZW_MSG_ERR_EXIST;
	wr32(ZW_SOC_MMU_VM, m->vm);
	wr64(ZW_SOC_MMU_ROOT, root | ZW_SOC_MMU_ROOT_VALID);
	if (rd32(ZW_SOC_MMU_STATUS))
		return ZW_MSG_ERR_ARG;
	ids_add(&roots, m->vm);
	return ZW_MSG_OK;
}

void vm_clear(const struct zw_msg_set_vm *m, uint32_t reply_to)
{
	uint32_t err = ZW_MSG_OK;

	if (!in_range(m->vm))
		err = ZW_MSG_ERR_ARG;
	else if (!ids_has(&roots, m->vm))
		err = ZW_MSG_ERR_NOENT;
	else if (users[m->vm])
		err = ZW_MSG_ERR_BUSY;
	if (err) {
		mbox_reply(ZW_MSG_CLEAR_VM, reply_to, err, NULL, 0);
		return;
	}
	wr32(ZW_SOC_MMU_VM, m->vm);
	wr64(ZW_SOC_MMU_ROOT, 0);
	ids_remove(&roots, m->vm);
	tlb_wait_add(m->vm, ZW_MSG_CLEAR_VM, reply_to);
}

void vm_invalidate(const struct zw_msg_tlb *m, uint32_t reply_to)
{
	if (!in_range(m->vm)) {
		mbox_reply(ZW_MSG_TLB_INVALIDATE, reply_to, ZW_MSG_ERR_ARG, NULL, 0);
		return;
	}
	wr32(ZW_SOC_MMU_VM, m->vm);
	wr32(ZW_SOC_MMU_INVALIDATE, 1);
	tlb_wait_add(m->vm, ZW_MSG_TLB_INVALIDATE, reply_to);
}
