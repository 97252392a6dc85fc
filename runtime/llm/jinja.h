/* SPDX-License-Identifier: MIT */
/*
 * Jinja, as far as chat templates use it, with the environment that transformers gives them
 * (sandboxed and immutable, trim_blocks, lstrip_blocks, loop controls, no autoescaping). Values behave
 * like Python's. What is not implemented is refused by name and position, never passed over.
 *
 * A template comes from strangers: parsing and rendering have limits on nesting, work, memory and
 * output. Everything that a rendering makes lives in one arena and goes with it.
 */
#ifndef ZW_LLM_JINJA_H
#define ZW_LLM_JINJA_H

#include "util.h"

/* ---- limits ---- */

#define JINJA_SOURCE_MAX (1u << 20)   /* bytes of a template */
#define JINJA_DEPTH_MAX  200          /* of nested expressions and statements */
#define JINJA_CALLS_MAX  40           /* of macros calling macros */
#define JINJA_STEPS_MAX  (64u << 20)  /* nodes evaluated, elements and bytes touched */
#define JINJA_MEMORY_MAX (256u << 20) /* bytes that one rendering allocates */
#define JINJA_OUTPUT_MAX (64u << 20)  /* bytes of the text */
#define JINJA_RANGE_MAX  100000       /* elements of a range(), as in Jinja's sandbox */
#define JINJA_JSON_DEPTH 100          /* of values from JSON and to JSON */

/* ---- memory ---- */

struct jarena_block;
struct jarena {
	struct jarena_block *blocks;
	size_t used, max; /* bytes */
};

/* Zeroed memory that lives as long as the arena; NULL when memory is out or the limit reached. */
void *jarena_alloc(struct jarena *a, size_t n);
void jarena_free(struct jarena *a);

/* ---- values ---- */

enum jtype {
	J_UNDEFINED, /* u.s: what is undefined, for the error line; may be NULL */
	J_NONE,
	J_BOOL,
	J_INT,
	J_BIGINT, /* u.s: digits of an integer from JSON that has more than 64 bits; only carried through */
	J_FLOAT,
	J_STRING,
	J_LIST,
	J_TUPLE,
	J_ITER, /* an iterator (seen once) or a view of a dict; u.l */
	J_DICT,
	J_NAMESPACE, /* u.d */
	J_LOOP,
	J_MACRO,
	J_FUNCTION, /* u.fn: one of the global functions */
	J_METHOD,   /* u.m: bound to a value */
};

struct jstr {
	uint32_t len; /* bytes */
	uint32_t num; /* characters */
	bool safe;    /* went through the filter safe */
	char *p;      /* UTF-8, NUL behind it */
};

struct jval {
	enum jtype t;
	union {
		bool b;
		int64_t i;
		double f;
		const struct jstr *s;
		struct jlist *l;
		struct jdict *d;
		struct jloop *loop;
		const struct jmacro *macro;
		const struct jfunction *fn;
		const struct jbound *m;
	} u;
};

struct jlist {
	struct jval *v;
	size_t n, cap;
	size_t pos; /* J_ITER: elements already taken */
	bool view;  /* J_ITER: can be gone through again and has a length */
};

struct jpair {
	struct jval k, v;
};

struct jdict {
	struct jpair *p; /* in order of insertion */
	size_t n, cap;
	uint32_t *index; /* open addressing, position + 1; NULL while small */
	size_t slots;
};

/* ---- templates ---- */

struct jpos {
	uint32_t line, col; /* from 1 */
};

enum jnode_kind {
	/* expressions */
	N_CONST,
	N_NAME,
	N_LIST,
	N_TUPLE,
	N_DICT, /* list: key, value, key, value */
	N_ATTR,
	N_ITEM,
	N_SLICE, /* a[b:c:d] */
	N_CALL,
	N_FILTER,
	N_TEST,
	N_NOT,
	N_NEG,
	N_POS,
	N_AND,
	N_OR,
	N_BINARY,  /* op */
	N_CONCAT,  /* list */
	N_COMPARE, /* a, then list of N_OPERAND */
	N_OPERAND, /* op, a */
	N_COND,    /* b if a else c */
	N_KEYWORD, /* str = a, in arguments */
	/* statements */
	N_DATA,
	N_OUTPUT,       /* a */
	N_IF,           /* a: condition, body, els, where an elif is an N_IF with op JIF_ELIF */
	N_FOR,          /* a: target, b: iterable, c: condition, body, els */
	N_SET,          /* a: target, b: value or NULL, then body and c: filters */
	N_MACRO,        /* str, list: parameters as N_KEYWORD (a: default), body */
	N_FILTER_BLOCK, /* c, body */
	N_WITH,         /* list of N_KEYWORD, body */
	N_SCOPE,        /* body */
	N_BREAK,
	N_CONTINUE,
	/* targets */
	N_NSREF, /* str . str2 */
};

#define JIF_ELIF 1

struct jnode {
	enum jnode_kind kind;
	uint16_t depth;
	int op; /* enum jtok of an operator, or index of a filter or test */
	struct jpos pos;
	struct jnode *next; /* in a list */
	struct jnode *a, *b, *c, *d;
	struct jnode *list, *body, *els;
	const struct jstr *str, *str2;
	struct jval val;
};

struct jinja {
	struct jarena arena;
	struct jnode *body;
};

/* Parses a template. The text need not stay. */
int jinja_parse(const char *text, size_t len, struct jinja *t, struct zw_error *err);
void jinja_free(struct jinja *t);

/* ---- lexer ---- */

enum jtok {
	T_EOF,
	T_DATA,
	T_VAR_BEGIN,
	T_VAR_END,
	T_BLOCK_BEGIN,
	T_BLOCK_END,
	T_NAME,
	T_STRING,
	T_INT,
	T_FLOAT,
	/* operators */
	T_ADD,
	T_SUB,
	T_DIV,
	T_FLOORDIV,
	T_MUL,
	T_MOD,
	T_POW,
	T_TILDE,
	T_LBRACKET,
	T_RBRACKET,
	T_LPAREN,
	T_RPAREN,
	T_LBRACE,
	T_RBRACE,
	T_EQ,
	T_NE,
	T_GT,
	T_GE,
	T_LT,
	T_LE,
	T_ASSIGN,
	T_DOT,
	T_COLON,
	T_PIPE,
	T_COMMA,
	T_SEMICOLON,
	/* never in a text: operators that are words */
	T_IN,
	T_NOT_IN,
};

struct jtoken {
	enum jtok t;
	struct jpos pos;
	const struct jstr *s; /* data, name, string */
	int64_t i;
	double f;
};

/* All tokens of a text, T_EOF last, in the arena. */
int jinja_lex(struct jarena *a, const char *text, size_t len, struct jtoken **toks, size_t *n,
	      struct zw_error *err);
/* "end of print statement" and the like, for error lines. */
const char *jinja_token_name(const struct jtoken *t, char buf[64]);

/* ---- rendering ---- */

struct jscope {
	struct jscope *parent;
	struct jdict vars;
};

struct jmacro {
	const struct jnode *node;
	struct jscope *scope; /* where it was defined */
};

struct jloop {
	const struct jlist *items;
	size_t index;
	struct jval changed; /* arguments of the last changed() */
};

struct jctx {
	struct jarena arena;
	struct jval globals; /* J_DICT: what the caller gives */
	struct jscope *scope;
	struct jbuf *out;
	int64_t now; /* seconds since 1970, for strftime_now() */
	uint64_t steps;
	uint32_t calls;
	int flow; /* N_BREAK, N_CONTINUE or 0 */
	struct jpos pos;
	struct zw_error *err;
};

/* Growing text, malloc()ed. */
struct jbuf {
	char *p;
	size_t len, cap;
};

/* Renders into *out. globals is a J_DICT, made in c->arena. */
int jinja_render(const struct jinja *t, struct jctx *c, struct jbuf *out);

/* The error line with c->pos in front; returns code. */
int jfail(struct jctx *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Counts work; -EFBIG past the limit. */
int jsteps(struct jctx *c, uint64_t n);
int jbuf_put(struct jctx *c, struct jbuf *b, const char *p, size_t n);

/* ---- values: making and reading ---- */

int jstr_new(struct jctx *c, const char *p, size_t n, struct jval *v);
/* A text of a given length, to be filled in by the caller and then counted. */
struct jstr *jstr_room(struct jctx *c, size_t n);
void jstr_count(struct jstr *s);
int jstr_fmt(struct jctx *c, struct jval *v, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int jlist_new(struct jctx *c, enum jtype t, size_t cap, struct jval *v);
int jlist_add(struct jctx *c, struct jlist *l, struct jval v);
int jdict_new(struct jctx *c, enum jtype t, struct jval *v);
int jdict_set(struct jctx *c, struct jdict *d, struct jval k, struct jval v);
int jdict_set_str(struct jctx *c, struct jdict *d, const char *k, struct jval v);
/* *found NULL when there is none; -EINVAL for a key that cannot be one. */
int jdict_get(struct jctx *c, const struct jdict *d, struct jval k, struct jval **found);
struct jval *jdict_find(const struct jdict *d, const char *p, size_t n);

/* A bound method: which one is known to jinja_method.c. */
struct jbound {
	struct jval self;
	int method;
	const struct jstr *name;
};

static inline struct jval jundef(const struct jstr *name)
{
	return (struct jval){J_UNDEFINED, {.s = name}};
}
static inline struct jval jnone(void)
{
	return (struct jval){J_NONE, {0}};
}
static inline struct jval jbool(bool b)
{
	return (struct jval){J_BOOL, {.b = b}};
}
static inline struct jval jint(int64_t i)
{
	return (struct jval){J_INT, {.i = i}};
}
static inline struct jval jfloat(double f)
{
	return (struct jval){J_FLOAT, {.f = f}};
}

/* Python's name of the type, for error lines. */
const char *jtype_name(const struct jval *v);
bool jis(const struct jval *v, const char *text); /* the string `text` */
/* int(v) of a bool or int. */
bool jas_int(const struct jval *v, int64_t *i);
bool jas_number(const struct jval *v, double *f);
int jtruth(struct jctx *c, const struct jval *v, bool *b);
int jequal(struct jctx *c, const struct jval *a, const struct jval *b, bool *eq);
/* <0, 0, >0 as a is less, equal, more; op names the operator in the error. */
int jcompare(struct jctx *c, const struct jval *a, const struct jval *b, const char *op, int *r);
int jcontains(struct jctx *c, const struct jval *seq, const struct jval *v, bool *in);
/* str(v) as a string value; repr(v) appended to a buffer. */
int jto_str(struct jctx *c, const struct jval *v, struct jval *s);
int jrepr(struct jctx *c, const struct jval *v, struct jbuf *b);
void jfloat_repr(double f, char buf[40]);
/* The elements that iterating over v gives, as a list that must not be changed; -EINVAL when v is no
 * iterable. An iterator is used up by it. */
int jiterate(struct jctx *c, struct jval *v, struct jlist **l);
/* len(v), or -1 when it has none. */
int64_t jlength(const struct jval *v);

/* ---- text (characters, not bytes) ---- */

bool jspace(int32_t cp);
/* Byte offset of character i of s (i <= s->num). */
size_t jstr_at(const struct jstr *s, size_t i);
int jstr_strip(struct jctx *c, const struct jstr *s, const struct jstr *chars, bool left,
	       bool right, struct jval *v);
int jstr_upper(struct jctx *c, const struct jstr *s, struct jval *v);
int jstr_lower(struct jctx *c, const struct jstr *s, struct jval *v);
int jstr_capitalize(struct jctx *c, const struct jstr *s, struct jval *v);
int jstr_replace(struct jctx *c, const struct jstr *s, const struct jstr *old,
		 const struct jstr *to, int64_t count, struct jval *v);
int jstr_split(struct jctx *c, const struct jstr *s, const struct jstr *sep, int64_t max,
	       bool right, struct jval *v);
int jstr_splitlines(struct jctx *c, const struct jstr *s, bool keep, struct jval *v);
int jstr_reverse(struct jctx *c, const struct jstr *s, struct jval *v);
/* First (or last) place of a text in bytes, or -1. */
int64_t jstr_find(const struct jstr *s, const struct jstr *sub, size_t from, bool last);
/* s[start:stop:step] of anything that can be sliced; NONE where left out. */
int jslice(struct jctx *c, const struct jval *v, const struct jval *start, const struct jval *stop,
	   const struct jval *step, struct jval *out);

/* ---- JSON ---- */

/* JSON text to a value as Python's json.loads() makes it; `what` names it in errors. */
int jjson_parse(struct jctx *c, const char *what, const char *text, size_t len, struct jval *v);
struct jjson_style {
	bool ascii, sort, indented;
	struct jstr indent;            /* one step of it */
	const struct jstr *item, *key; /* separators */
};
int jjson_dump(struct jctx *c, const struct jval *v, const struct jjson_style *s, struct jbuf *b);

/* ---- calls ---- */

#define JARGS_MAX 16
struct jargs {
	struct jval pos[JARGS_MAX];
	size_t num;
	const struct jstr *key[JARGS_MAX];
	struct jval kw[JARGS_MAX];
	size_t num_kw;
};

/*
 * Takes arguments by position or name into v[], which hold the defaults; `names` are the parameters,
 * separated by a space; those behind the first `need` may be left out.
 */
int jargs_take(struct jctx *c, const char *fn, const struct jargs *a, const char *names,
	       size_t need, struct jval *v);

int jinja_filter_find(const struct jstr *name, bool *known);
int jinja_filter_apply(struct jctx *c, int filter, struct jval *v, const struct jargs *a,
		       struct jval *out);
int jinja_test_find(const struct jstr *name, bool *known);
int jinja_test_apply(struct jctx *c, int test, const struct jval *v, const struct jargs *a,
		     bool *out);

int jinja_global(const struct jstr *name, struct jval *v); /* -ENOENT; -EOPNOTSUPP */
int jinja_call_function(struct jctx *c, const struct jfunction *fn, const struct jargs *a,
			struct jval *out);
int jinja_call_macro(struct jctx *c, const struct jmacro *m, const struct jargs *a,
		     struct jval *out);
int jinja_call_method(struct jctx *c, const struct jbound *m, const struct jargs *a,
		      struct jval *out);
int jinja_call(struct jctx *c, const struct jval *f, const struct jargs *a, struct jval *out);
/* v.name, where that is an attribute of Python's type: *found. */
int jinja_attribute(struct jctx *c, const struct jval *v, const struct jstr *name, struct jval *out,
		    bool *found);
/* v.name and v[key] as templates see them. */
int jinja_getattr(struct jctx *c, const struct jval *v, const struct jstr *name, struct jval *out);
int jinja_getitem(struct jctx *c, const struct jval *v, const struct jval *key, struct jval *out);
int jinja_binary(struct jctx *c, int op, const struct jval *a, const struct jval *b,
		 struct jval *out);
int jinja_eval(struct jctx *c, const struct jnode *n, struct jval *out);
int jinja_exec(struct jctx *c, const struct jnode *n);
/* Executes statements in a scope below `parent` and gives their output as a string. */
int jinja_capture(struct jctx *c, const struct jnode *body, struct jscope *scope, struct jval *out);
int jinja_call_loop(struct jctx *c, struct jloop *l, const struct jstr *name, const struct jargs *a,
		    struct jval *out);

#endif
