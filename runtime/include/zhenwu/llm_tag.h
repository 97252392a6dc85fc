/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: the tags of its packets (struct zw_pkt.tag), by which failures and traces name layers.
 *
 *	bits 31..24  ZW_LLM_TAG_FORM: a tag of this form
 *	bits 23..16  enum zw_llm_part
 *	bits 15..0   1 + number of the layer, 0: of none; that of the MTP head follows the last one
 *
 * Packets that move blocks and states between steps have none (0).
 */
#ifndef ZHENWU_LLM_TAG_H
#define ZHENWU_LLM_TAG_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZW_LLM_TAG_FORM 0x4cu

/** Part of a step that a packet belongs to. */
enum zw_llm_part {
	ZW_LLM_PART_IDS = 1,   /**< fetches the ids that earlier steps chose */
	ZW_LLM_PART_EMBED = 2, /**< embedding of the tokens */
	ZW_LLM_PART_MIXER = 3, /**< attention or recurrence of a layer, with norm and projections */
	ZW_LLM_PART_FEED_FORWARD = 4, /**< MLP or experts of a layer, with norm */
	ZW_LLM_PART_OUTPUT = 5,       /**< final norm, head, choice, logits */
	ZW_LLM_PART_HAND_OVER = 7,    /**< rows from and to other parts of the model */
	ZW_LLM_PART_DRAFT = 6,        /**< of the MTP head: all but its layer */
};

/** The tag of a part; layer -1: none. */
static inline uint32_t zw_llm_tag(enum zw_llm_part part, int layer)
{
	return ZW_LLM_TAG_FORM << 24 | (uint32_t)part << 16 | ((uint32_t)(layer + 1) & 0xffff);
}

/** Whether libzhenwu-llm may have made it. */
static inline bool zw_llm_tag_ours(uint32_t tag)
{
	return tag >> 24 == ZW_LLM_TAG_FORM;
}

/** enum zw_llm_part of such a tag. */
static inline uint32_t zw_llm_tag_part(uint32_t tag)
{
	return tag >> 16 & 0xff;
}

/** Layer of such a tag, or -1. */
static inline int zw_llm_tag_layer(uint32_t tag)
{
	return (int)(tag & 0xffff) - 1;
}

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_TAG_H */
