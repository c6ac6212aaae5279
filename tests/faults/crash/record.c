/* Records what a program does to the files of one folder, and can make one of these calls fail: preloaded into it.
 *
 * record_begin(FOLDER, TRACE): from now on each call on a file below FOLDER is appended to the file TRACE.
 * record_fail(N, ERRNO): the Nth call from now on fails with ERRNO; ERRNO 0: it writes only half (a short write).
 * record_end(): stop, returns how many calls there were. record_note(TEXT): put a note into the trace.
 *
 * One record: a line `OP FD-OR-MODE OFFSET LENGTH PATH\n`, for writes followed by LENGTH bytes and a newline.
 * Files are named by their path at the time of opening.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define FILES 4096
static char folder[PATH_MAX], *paths[FILES];
static FILE *trace;
static long calls, fail_at, fail_errno;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);

static void look_up(void) {
    if (!real_write) {
        real_write = dlsym(RTLD_NEXT, "write");
        real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    }
}

void record_begin(const char *where, const char *file) {
    look_up();
    snprintf(folder, sizeof folder, "%s", where);
    trace = file[0] ? fopen(file, "wb") : NULL;
    calls = fail_at = 0;
}

void record_fail(long at, long number) {
    calls = 0;
    fail_at = at;
    fail_errno = number;
}

long record_end(void) {
    if (trace)
        fclose(trace);
    trace = NULL;
    folder[0] = 0;
    return calls;
}

void record_note(const char *text) {
    if (trace)
        fprintf(trace, "note 0 0 0 %s\n", text);
}

static int inside(const char *path) {
    return folder[0] && path && strncmp(path, folder, strlen(folder)) == 0;
}

static const char *path_of(int fd) {
    return fd >= 0 && fd < FILES && paths[fd] && inside(paths[fd]) ? paths[fd] : NULL;
}

static void put(const char *op, long number, long long offset, size_t length, const char *path, const void *data) {
    if (!trace)
        return;
    fprintf(trace, "%s %ld %lld %zu %s\n", op, number, offset, length, path);
    if (data) {
        fwrite(data, 1, length, trace);
        fputc('\n', trace);
    }
}

/* Count a call; 1: it is to fail with errno set, 2: it is to be short. */
static int judge(void) {
    if (++calls != fail_at || !fail_at)
        return 0;
    errno = (int)fail_errno;
    return fail_errno ? 1 : 2;
}

static int opened(int fd, const char *path, int flags) {
    int kept = errno;
    if (fd >= 0 && fd < FILES) {
        free(paths[fd]);
        char absolute[PATH_MAX], link[64];
        ssize_t length;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        length = readlink(link, absolute, sizeof absolute - 1);
        paths[fd] = length > 0 ? strndup(absolute, (size_t)length) : strdup(path);
        if (path_of(fd) && (flags & (O_CREAT | O_TRUNC)))
            put("open", (flags & O_TRUNC) ? 1 : 0, 0, 0, paths[fd], NULL);
    }
    errno = kept;
    return fd;
}

static int open_any(const char *name, int at, const char *path, int flags, mode_t mode) {
    int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, name);
    if (inside(path) && (flags & (O_CREAT | O_TRUNC)) && judge() == 1)
        return -1;
    return opened(real(at, path, flags, mode), path, flags);
}

#define MODE(flags)                                                                                                    \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) { MODE(flags) return open_any("openat", AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_any("openat64", AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return open_any("openat", at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) {
    MODE(flags) return open_any("openat64", at, path, flags, mode);
}

int close(int fd) {
    if (fd >= 0 && fd < FILES) {
        free(paths[fd]);
        paths[fd] = NULL;
    }
    return REAL(close)(fd);
}

/* Say whether a write may happen; one that falls short is halved. */
static int admit(size_t *length) {
    int verdict = judge();
    if (verdict == 2 && *length > 1)
        *length /= 2;
    return verdict != 1;
}

ssize_t write(int fd, const void *data, size_t length) {
    const char *path = path_of(fd);
    look_up();
    if (path) {
        if (!admit(&length))
            return -1;
        off64_t offset = lseek64(fd, 0, SEEK_CUR);
        ssize_t done = real_write(fd, data, length);
        if (done >= 0)
            put("write", 0, offset, (size_t)done, path, data);
        return done;
    }
    return real_write(fd, data, length);
}

static ssize_t pwrite_any(int fd, const void *data, size_t length, off64_t offset) {
    const char *path = path_of(fd);
    look_up();
    if (path) {
        if (!admit(&length))
            return -1;
        ssize_t done = real_pwrite(fd, data, length, offset);
        if (done >= 0)
            put("write", 0, offset, (size_t)done, path, data);
        return done;
    }
    return real_pwrite(fd, data, length, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite_any(fd, data, length, offset); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    return pwrite_any(fd, data, length, offset);
}

static int sync_any(const char *name, int fd) {
    const char *path = path_of(fd);
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    if (path) {
        if (judge() == 1)
            return -1;
        put("sync", 0, 0, 0, path, NULL);
    }
    return real(fd);
}

int fsync(int fd) { return sync_any("fsync", fd); }
int fdatasync(int fd) { return sync_any("fdatasync", fd); }

static int truncate_any(const char *name, int fd, off64_t length) {
    const char *path = path_of(fd);
    int (*real)(int, off64_t) = dlsym(RTLD_NEXT, name);
    if (path) {
        if (judge() == 1)
            return -1;
        put("truncate", 0, length, 0, path, NULL);
    }
    return real(fd, length);
}

int ftruncate(int fd, off_t length) { return truncate_any("ftruncate64", fd, length); }
int ftruncate64(int fd, off64_t length) { return truncate_any("ftruncate64", fd, length); }

int rename(const char *from, const char *to) {
    if (inside(from)) {
        if (judge() == 1)
            return -1;
        put("rename", 0, 0, strlen(to), from, to);
    }
    return REAL(rename)(from, to);
}

int unlink(const char *path) {
    if (inside(path)) {
        if (judge() == 1)
            return -1;
        put("unlink", 0, 0, 0, path, NULL);
    }
    return REAL(unlink)(path);
}
