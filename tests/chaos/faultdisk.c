/* LD_PRELOAD shim: makes the disk refuse while a program runs, for files whose path has a word.
 *
 * FAULTDISK names a control file. While it exists, each of its lines is a rule
 *
 *     OPERATION ERRNO WORD [NTH]
 *
 * OPERATION: sync (fsync, fdatasync), write (write, pwrite, ftruncate, fallocate).
 * ERRNO: EIO or ENOSPC. WORD: part of the path, or its end when it ends in '$'. NTH: the first calls that match still succeed,
 * the NTH and all after it fail (1 when left out); a rule counts anew when the file changes.
 * A write of several pages is refused as a whole; nothing of it reaches the file.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { MAX_RULES = 8, MAX_TEXT = 1024 };

struct rule {
    char operation[16];
    int error;
    char word[256];
    long nth;
    long seen;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[MAX_RULES];
static int rule_count;
static char text[MAX_TEXT];

static void *next_symbol(const char *name) {
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL) abort();
    return symbol;
}

/* Holding the lock. Reads through the real read(), which is not replaced. */
static void load_rules(const char *control) {
    char now[MAX_TEXT] = "";
    int fd = open(control, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t length = read(fd, now, sizeof now - 1);
        now[length > 0 ? length : 0] = '\0';
        close(fd);
    }
    if (strcmp(now, text) == 0) return;
    strcpy(text, now);
    rule_count = 0;
    char *rest = now, *line;
    while (rule_count < MAX_RULES && (line = strsep(&rest, "\n")) != NULL) {
        struct rule *rule = &rules[rule_count];
        char error[16];
        rule->nth = 1;
        rule->seen = 0;
        if (sscanf(line, "%15s %15s %255s %ld", rule->operation, error, rule->word, &rule->nth) < 3)
            continue;
        rule->error = strcmp(error, "ENOSPC") == 0 ? ENOSPC : EIO;
        rule_count++;
    }
}

static int matches(const struct rule *rule, const char *operation, const char *path) {
    size_t word = strlen(rule->word), length = strlen(path);
    if (strcmp(rule->operation, operation) != 0) return 0;
    if (word == 0 || rule->word[word - 1] != '$') return strstr(path, rule->word) != NULL;
    word--;
    return length >= word && strncmp(path + length - word, rule->word, word) == 0;
}

/* 0, or the errno that the call shall fail with. */
static int refused(const char *operation, int fd) {
    const char *control = getenv("FAULTDISK");
    int kept = errno, error = 0;
    char link[64], path[4096];
    if (control == NULL || access(control, F_OK) != 0) {
        errno = kept;
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    pthread_mutex_lock(&lock);
    load_rules(control);
    for (int i = 0; i < rule_count && error == 0; i++) {
        struct rule *rule = &rules[i];
        if (matches(rule, operation, path) && ++rule->seen >= rule->nth)
            error = rule->error;
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return error;
}

#define REPLACE(type, name, parameters, arguments, operation)  \
    type name parameters {                                     \
        static type(*real) parameters;                         \
        int error = refused(operation, fd);                    \
        if (error != 0) {                                      \
            errno = error;                                     \
            return -1;                                         \
        }                                                      \
        if (real == NULL) real = (type(*) parameters)next_symbol(#name); \
        return real arguments;                                 \
    }

REPLACE(int, fsync, (int fd), (fd), "sync")
REPLACE(int, fdatasync, (int fd), (fd), "sync")
REPLACE(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), "write")
REPLACE(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at),
        (fd, data, size, at), "write")
REPLACE(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at),
        (fd, data, size, at), "write")
REPLACE(int, ftruncate, (int fd, off_t size), (fd, size), "write")
REPLACE(int, ftruncate64, (int fd, off64_t size), (fd, size), "write")
REPLACE(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), "write")
REPLACE(int, fallocate64, (int fd, int mode, off64_t at, off64_t size),
        (fd, mode, at, size), "write")

/* This one returns the error instead of setting errno. */
int posix_fallocate(int fd, off_t at, off_t size) {
    static int (*real)(int, off_t, off_t);
    int error = refused("write", fd);
    if (error != 0) return error;
    if (real == NULL) real = (int (*)(int, off_t, off_t))next_symbol("posix_fallocate");
    return real(fd, at, size);
}
