/* The fence: the end of every process of the namespace. */
#ifndef PGHAD_GUARD_FENCE_H
#define PGHAD_GUARD_FENCE_H

/* Touches every page that the fence needs and, where permitted, locks what is resident, so that it
 * does not depend on the disk of the image. Call as root if possible, before privileges go. */
void fence_prepare(void);

/* SIGKILL to everything but this process, then reaps until no child is left. Only for the first
 * process of a PID namespace of our own; anything else ends this process instead. No heap, no
 * files, no log. */
void fence_end_all(void);

#endif
