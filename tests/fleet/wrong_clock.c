/* A wall clock that is wrong for the programs it is preloaded into, and for nothing else: monotonic clocks,
 * timeouts and sleeps stay right. (libfaketime 0.9.10, Debian 12's, breaks Python 3.11's time.sleep:
 * wolfcw/libfaketime issue 426.) The offset, in nanoseconds, is PLUGFLEET_CLOCK or stands in OFFSET_FILE. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static long long offset;
static int (*right_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void read_offset(void)
{
    char text[32] = "";
    const char *given = getenv("PLUGFLEET_CLOCK");
    int file = given ? -1 : open(OFFSET_FILE, O_RDONLY | O_CLOEXEC);

    if (file >= 0) {
        if (read(file, text, sizeof text - 1) > 0)
            given = text;
        close(file);
    }
    right_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    offset = given ? atoll(given) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result;
    long long moved;

    if (!right_clock) /* another library's constructor came first */
        read_offset();
    result = right_clock(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        moved = now->tv_sec * SECOND + now->tv_nsec + offset;
        now->tv_sec = moved / SECOND;
        now->tv_nsec = moved % SECOND;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec exact;

    clock_gettime(CLOCK_REALTIME, &exact);
    if (result)
        *result = exact.tv_sec;
    return exact.tv_sec;
}

int timespec_get(struct timespec *now, int base)
{
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}
