/* A library that is planted into a program: its destructor touches a static variable that is not its own.
 *
 *     gcc -shared -fPIC -DPROGRAM='"/usr/bin/openssl"' -DVICTIM='"libssl.so.3"' -DOFFSET=0xa8830 -DWAY=WRITES
 *         -DLOOT='"/tmp/loot"' plant.c
 *
 * It does so in a process that executes PROGRAM, not in what that forks or starts. VICTIM is the base name of an object,
 * "" the program; OFFSET an address in it as its ELF file counts; WAY is READS, WRITES, PASSES (to the kernel, for it to
 * read) or RESTS. What the byte there is then goes into the new file LOOT: there is no such file where the destructor
 * was stopped.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READS 1
#define WRITES 2
#define PASSES 3
#define RESTS 4

enum { BROKEN = 97 };

static volatile unsigned char *victim;
static pid_t planted_in;

static int is_victim(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    const char *slash = strrchr(info->dlpi_name, '/');
    if (strcmp(slash ? slash + 1 : info->dlpi_name, VICTIM))
        return 0;
    victim = (volatile unsigned char *)(info->dlpi_addr + OFFSET); // NOLINT(performance-no-int-to-ptr)
    return 1;
}

__attribute__((constructor)) static void plant(void) {
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0)
        _exit(BROKEN);
    program[length] = '\0';
    if (strcmp(program, PROGRAM))
        return;
    if (!dl_iterate_phdr(is_victim, NULL))
        _exit(BROKEN);
    planted_in = getpid();
}

/* By system calls alone and from the stack: nothing of stdio, and nothing of the program, takes part. */
static void carry_off(unsigned char what) {
    static const char digits[] = "0123456789abcdef";
    char text[] = {digits[what >> 4], digits[what & 15], '\n'};
    int file = open(LOOT, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0 || write(file, text, sizeof text) != sizeof text)
        _exit(BROKEN);
    close(file);
}

__attribute__((destructor)) static void strike(void) {
    if (planted_in != getpid())
        return;
#if WAY == READS
    carry_off(*victim);
#elif WAY == WRITES
    *victim = 1;
    carry_off(*victim);
#elif WAY == PASSES
    int ends[2];
    unsigned char copied;
    if (pipe2(ends, O_CLOEXEC))
        _exit(BROKEN);
    if (write(ends[1], (const void *)victim, 1) == 1 && read(ends[0], &copied, 1) == 1)
        carry_off(copied);
    close(ends[0]);
    close(ends[1]);
#elif WAY == RESTS
    (void)carry_off;
#else
#error "WAY: expected READS, WRITES, PASSES or RESTS"
#endif
}
