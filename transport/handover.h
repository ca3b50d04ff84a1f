/*
 * For ThreadSanitizer, which does not see how libzmq's threads hand messages over: over inproc the
 * memory that the sender filled is what the receiver reads. Nothing in other builds.
 */
#ifndef DCTX_HANDOVER_H
#define DCTX_HANDOVER_H

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DCTX_TSAN_ 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define DCTX_TSAN_ 1
#endif

#ifdef DCTX_TSAN_
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define dctx_handover_give_(address) __tsan_release(address)
#define dctx_handover_take_(address) __tsan_acquire(address)
#else
#define dctx_handover_give_(address) ((void)(address))
#define dctx_handover_take_(address) ((void)(address))
#endif

#endif
