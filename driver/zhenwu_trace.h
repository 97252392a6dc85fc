/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints. What the scheduler's events say is not said again: a submission is
 * drm_sched_job_queue (drm_sched_job on 6.12), with its client and fence.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM zhenwu

#if !defined(__ZHENWU_TRACE_H__) || defined(TRACE_HEADER_MULTI_READ)
#define __ZHENWU_TRACE_H__

#include <linux/tracepoint.h>

#include <drm/drm_device.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_job.h"
#include "zhenwu_queue.h"
#include "zhenwu_vm.h"

/* A run of jobs is put into the ring. Fence and queue lead to the scheduler's events. */
TRACE_EVENT(zhenwu_job_run,
	    TP_PROTO(const struct zhenwu_job *job),
	    TP_ARGS(job),
	    TP_STRUCT__entry(__string(dev, dev_name(job->queue->zdev->drm.dev))
			     __field(u32, queue)
			     __field(u32, jobs)
			     __field(u64, last)
			     __field(u64, context)
			     __field(u64, seqno)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->queue = job->queue->hw_id;
			   __entry->jobs = job->num_entries;
			   __entry->last = job->seqno;
			   __entry->context = job->base.s_fence->finished.context;
			   __entry->seqno = job->base.s_fence->finished.seqno;),
	    TP_printk("dev=%s queue=%u jobs=%llu-%llu fence=%llu:%llu", __get_str(dev),
		      __entry->queue, __entry->last - __entry->jobs + 1, __entry->last,
		      __entry->context, __entry->seqno)
);

/* The device completed a job. All but queue and number is what it says. */
TRACE_EVENT(zhenwu_job_done,
	    TP_PROTO(const struct zhenwu_queue *queue, u64 job, const struct zw_completion *c),
	    TP_ARGS(queue, job, c),
	    TP_STRUCT__entry(__string(dev, dev_name(queue->zdev->drm.dev))
			     __field(u32, queue)
			     __field(u32, status)
			     __field(u64, job)
			     __field(u64, start_ps)
			     __field(u64, end_ps)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->queue = queue->hw_id;
			   __entry->status = le32_to_cpu(c->status);
			   __entry->job = job;
			   __entry->start_ps = le64_to_cpu(c->start_ps);
			   __entry->end_ps = le64_to_cpu(c->end_ps);),
	    TP_printk("dev=%s queue=%u job=%llu status=%u start_ps=%llu end_ps=%llu",
		      __get_str(dev), __entry->queue, __entry->job, __entry->status,
		      __entry->start_ps, __entry->end_ps)
);

/* The first job of a queue that failed. */
TRACE_EVENT(zhenwu_fault,
	    TP_PROTO(const struct zhenwu_queue *queue),
	    TP_ARGS(queue),
	    TP_STRUCT__entry(__string(dev, dev_name(queue->zdev->drm.dev))
			     __field(u32, queue)
			     __field(u32, vm)
			     __field(u64, job)
			     __field(u32, status)
			     __field(u32, reason)
			     __field(u32, packet)
			     __field(u32, access)
			     __field(u64, va)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->queue = queue->hw_id;
			   __entry->vm = queue->vm->hw_id;
			   __entry->job = queue->error.seqno;
			   __entry->status = queue->error.status;
			   __entry->reason = queue->error.reason;
			   __entry->packet = queue->error.packet_index;
			   __entry->access = queue->error.fault_access;
			   __entry->va = queue->error.fault_va;),
	    TP_printk("dev=%s queue=%u vm=%u job=%llu status=%u reason=%u packet=%u access=%u va=0x%llx",
		      __get_str(dev), __entry->queue, __entry->vm, __entry->job, __entry->status,
		      __entry->reason, __entry->packet, __entry->access, __entry->va)
);

TRACE_EVENT(zhenwu_irq,
	    TP_PROTO(struct zhenwu_device *zdev, unsigned int vector),
	    TP_ARGS(zdev, vector),
	    TP_STRUCT__entry(__string(dev, dev_name(zdev->drm.dev))
			     __field(u32, vector)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->vector = vector;),
	    TP_printk("dev=%s vector=%u", __get_str(dev), __entry->vector)
);

/* An operation of VM_BIND that is over. */
TRACE_EVENT(zhenwu_bind,
	    TP_PROTO(const struct zhenwu_vm *vm, const struct drm_zhenwu_vm_bind_op *op, int ret),
	    TP_ARGS(vm, op, ret),
	    TP_STRUCT__entry(__string(dev, dev_name(vm->zdev->drm.dev))
			     __field(u32, vm)
			     __field(u32, flags)
			     __field(u32, bo)
			     __field(int, ret)
			     __field(u64, va)
			     __field(u64, size)
			     __field(u64, offset)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->vm = vm->hw_id;
			   __entry->flags = op->flags;
			   __entry->bo = op->bo_handle;
			   __entry->ret = ret;
			   __entry->va = op->va;
			   __entry->size = op->size;
			   __entry->offset = op->bo_offset;),
	    TP_printk("dev=%s vm=%u flags=0x%x va=0x%llx size=0x%llx bo=%u offset=0x%llx ret=%d",
		      __get_str(dev), __entry->vm, __entry->flags, __entry->va, __entry->size,
		      __entry->bo, __entry->offset, __entry->ret)
);

/* The memory of a buffer that user space can do without was taken. */
TRACE_EVENT(zhenwu_purge,
	    TP_PROTO(struct zhenwu_device *zdev, const struct zhenwu_bo *bo),
	    TP_ARGS(zdev, bo),
	    TP_STRUCT__entry(__string(dev, dev_name(zdev->drm.dev))
			     __field(bool, hbm)
			     __field(u64, size)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->hbm = bo->placement == DRM_ZHENWU_BO_HBM;
			   __entry->size = bo->shmem.base.size;),
	    TP_printk("dev=%s %s size=%llu", __get_str(dev), __entry->hbm ? "hbm" : "system",
		      __entry->size)
);

/* A buffer was moved out of HBM or back, or could not be; hbm is where it is now. */
TRACE_EVENT(zhenwu_move,
	    TP_PROTO(struct zhenwu_device *zdev, const struct zhenwu_bo *bo, int ret),
	    TP_ARGS(zdev, bo, ret),
	    TP_STRUCT__entry(__string(dev, dev_name(zdev->drm.dev))
			     __field(bool, hbm)
			     __field(u64, size)
			     __field(int, ret)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->hbm = bo->placement == DRM_ZHENWU_BO_HBM;
			   __entry->size = bo->shmem.base.size;
			   __entry->ret = ret;),
	    TP_printk("dev=%s %s size=%llu ret=%d", __get_str(dev),
		      __entry->hbm ? "hbm" : "system", __entry->size, __entry->ret)
);

/* A request to the firmware that is over. */
TRACE_EVENT(zhenwu_ipc,
	    TP_PROTO(struct zhenwu_device *zdev, u32 seq, u32 type, int ret),
	    TP_ARGS(zdev, seq, type, ret),
	    TP_STRUCT__entry(__string(dev, dev_name(zdev->drm.dev))
			     __field(u32, seq)
			     __field(u32, type)
			     __field(int, ret)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->seq = seq;
			   __entry->type = type;
			   __entry->ret = ret;),
	    TP_printk("dev=%s seq=%u type=0x%x ret=%d", __get_str(dev), __entry->seq,
		      __entry->type, __entry->ret)
);

/* System sleep; resume is false before and true after it. */
TRACE_EVENT(zhenwu_pm,
	    TP_PROTO(struct zhenwu_device *zdev, bool resume, int ret),
	    TP_ARGS(zdev, resume, ret),
	    TP_STRUCT__entry(__string(dev, dev_name(zdev->drm.dev))
			     __field(bool, resume)
			     __field(int, ret)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->resume = resume;
			   __entry->ret = ret;),
	    TP_printk("dev=%s %s ret=%d", __get_str(dev), __entry->resume ? "resume" : "suspend",
		      __entry->ret)
);

#define zhenwu_trace_state(state) \
	__print_symbolic(state, \
			 { ZHENWU_STATE_BOOTING, "booting" }, \
			 { ZHENWU_STATE_LIVE, "live" }, \
			 { ZHENWU_STATE_RESETTING, "resetting" }, \
			 { ZHENWU_STATE_FLR, "flr" }, \
			 { ZHENWU_STATE_SUSPENDED, "suspended" }, \
			 { ZHENWU_STATE_WEDGED, "wedged" }, \
			 { ZHENWU_STATE_STOPPING, "stopping" }, \
			 { ZHENWU_STATE_STOPPED, "stopped" })

TRACE_DEFINE_ENUM(ZHENWU_STATE_BOOTING);
TRACE_DEFINE_ENUM(ZHENWU_STATE_LIVE);
TRACE_DEFINE_ENUM(ZHENWU_STATE_RESETTING);
TRACE_DEFINE_ENUM(ZHENWU_STATE_FLR);
TRACE_DEFINE_ENUM(ZHENWU_STATE_SUSPENDED);
TRACE_DEFINE_ENUM(ZHENWU_STATE_WEDGED);
TRACE_DEFINE_ENUM(ZHENWU_STATE_STOPPING);
TRACE_DEFINE_ENUM(ZHENWU_STATE_STOPPED);

/* A reset, a loss or a removal, step by step: the state of the device changed. */
TRACE_EVENT(zhenwu_state,
	    TP_PROTO(struct zhenwu_device *zdev, u32 from, u32 to),
	    TP_ARGS(zdev, from, to),
	    TP_STRUCT__entry(__string(dev, dev_name(zdev->drm.dev))
			     __field(u32, from)
			     __field(u32, to)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->from = from;
			   __entry->to = to;),
	    TP_printk("dev=%s from=%s to=%s", __get_str(dev),
		      zhenwu_trace_state(__entry->from), zhenwu_trace_state(__entry->to))
);

#endif /* __ZHENWU_TRACE_H__ */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE zhenwu_trace
#include <trace/define_trace.h>
