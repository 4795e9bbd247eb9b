/* Assertions that stay in the product: a broken invariant ends the process, and guard still fences. */
#ifndef PGHAD_BASE_MUST_H
#define PGHAD_BASE_MUST_H

_Noreturn void must_fail(const char *expr, const char *file, int line);
#define must(cond) ((cond) ? (void)0 : must_fail(#cond, __FILE__, __LINE__))

#endif
