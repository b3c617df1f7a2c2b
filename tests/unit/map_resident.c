/* The exit map in the process: out of everyone's reach, by the best means that kernel and process have. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "denial.h"
#include "map.h"
#include "map_builder.h"
#include "map_seal.h"
#include "missing.h"
#include "secret.h"

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

static struct map_file file;

static void load(void) {
    map_build(&file);
    ia2_secret_make();
    cr_assert_null(map_load(file.bytes, file.size));
}

TestSuite(map_resident, .init = load, .timeout = 50);

static bool has_mseal(void) {
    void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return syscall(SYS_mseal, page, 4096, 0) == 0;
}

/* An entry of each table, and a string. */
static const struct ia2_map_object *an_object(void) {
    return ia2_map_find((const uint8_t[IA2_MAP_BUILD_ID]){0}, 0, "a.so");
}
static const struct ia2_destructor *a_destructor(void) { return ia2_map_destructor(an_object(), map_rva(0, 0), 0); }

/* ---- as it should be ---- */

Test(map_resident, it_has_the_strongest_protection_of_this_kernel) {
    cr_expect_str_eq(ia2_map_protection(), has_mseal() ? "sealed file, mseal" : "sealed file");
    cr_expect_null(ia2_map_verify());
}

/* The line of /proc/self/maps that has `address`. */
static void find_mapping(const void *address, char *line, int size) {
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long start;
    unsigned long end;
    cr_assert_not_null(maps);
    do {
        cr_assert_not_null(fgets(line, size, maps), "it is mapped");
        cr_assert_eq(sscanf(line, "%lx-%lx", &start, &end), 2);
    } while ((unsigned long)address < start || (unsigned long)address >= end);
    fclose(maps);
}

Test(map_resident, the_kernel_says_that_it_is_a_file_that_nobody_can_write) {
    const void *const parts[] = {an_object(), a_destructor(), a_destructor()->symbol, ia2_map_compartment_name(0)};
    char line[512];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        find_mapping(parts[i], line, sizeof line);
        cr_expect_not_null(strstr(line, " r--s "), "%s", line);
        cr_expect_not_null(strstr(line, "/memfd:ia2-exit-map"), "%s", line);
    }
}

Test(map_resident, no_descriptor_leads_to_it) {
    DIR *folder = opendir("/proc/self/fd");
    cr_assert_not_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        char path[512];
        char target[512] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        cr_expect(readlink(path, target, sizeof target - 1) < 0 || !strstr(target, "ia2-exit-map"), "%s", target);
    }
    closedir(folder);
}

static const void *page_of_map(void) { return (const void *)((uintptr_t)a_destructor() & ~4095ul); }

Test(map_resident, it_cannot_be_made_writable) {
    cr_expect_eq(mprotect((void *)page_of_map(), 4096, PROT_READ | PROT_WRITE), -1);
    cr_expect(errno == EPERM || errno == EACCES, "%s", strerror(errno));
    cr_expect_null(ia2_map_verify());
}

Test(map_resident, it_cannot_be_taken_away) {
    void *page = (void *)page_of_map();
    if (!has_mseal()) { /* then that is not promised (map_seal.h); where the kernel has it and denies it, nothing is shown */
        if (errno != ENOSYS) {
            test_missing("mseal is denied here");
        }
        cr_expect_str_eq(ia2_map_protection(), "sealed file");
        cr_expect_eq(munmap(page, 4096), 0);
        return;
    }
    cr_expect_eq(munmap(page, 4096), -1);
    cr_expect_eq(mmap(page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), MAP_FAILED);
    cr_expect_eq(mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, (char *)page + (1 << 20)), MAP_FAILED);
    cr_expect_null(ia2_map_verify());
}

Test(map_resident, its_file_is_sealed_even_for_root) {
    char line[512];
    char path[512];
    find_mapping(page_of_map(), line, sizeof line);
    snprintf(path, sizeof path, "/proc/self/map_files/%.*s", (int)strcspn(line, " "), line);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        test_missing("only root reaches the file behind a mapping");
    }
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    cr_expect_eq(fcntl(fd, F_GET_SEALS) & seals, seals);
    cr_expect_eq(pwrite(fd, "x", 1, 0), -1);
    cr_expect_eq(errno, EPERM);
    cr_expect_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    cr_expect_eq(ftruncate(fd, 0), -1);
    close(fd);
    cr_expect_null(ia2_map_verify());
}

/* AddressSanitizer has a handler for SIGSEGV: here the signal itself is what counts. */
static void write_to(const void *address) {
    signal(SIGSEGV, SIG_DFL);
    *(volatile unsigned char *)(uintptr_t)address ^= 1;
}

Test(map_resident, a_write_to_an_object_dies, .signal = SIGSEGV) { write_to(an_object()); }
Test(map_resident, a_write_to_a_destructor_dies, .signal = SIGSEGV) { write_to(a_destructor()); }
Test(map_resident, a_write_to_a_symbol_dies, .signal = SIGSEGV) { write_to(a_destructor()->symbol); }
Test(map_resident, a_write_to_a_name_dies, .signal = SIGSEGV) { write_to(ia2_map_compartment_name(10)); }

static void verify_in_child(void *unused) {
    (void)unused;
    _exit(ia2_map_verify() == NULL && a_destructor() != NULL ? 7 : 8);
}

Test(map_resident, a_forked_child_has_it_too) {
    int status = run_denied((const struct denial[]){{0}}, verify_in_child, NULL);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %x", (unsigned)status);
}

Test(map_resident, a_map_of_many_pages_is_one_too) {
    static unsigned char big[1 << 20];
    static unsigned char kept[sizeof big];
    unsigned char *memory = mmap(NULL, sizeof big, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < sizeof big; i++) {
        memory[i] = kept[i] = (unsigned char)(i * 31 + (i >> 9));
    }
    cr_expect_str_eq(ia2_map_seal(memory, sizeof big - 7), has_mseal() ? "sealed file, mseal" : "sealed file");
    cr_expect_eq(memcmp(memory, kept, sizeof big - 7), 0);
}

/* ---- where something is missing ---- */

struct without {
    const char what[40];
    const char expected[24];        /* with mseal; "" where either kind of memory will do */
    const char expected_before[24]; /* on a kernel without it */
    struct denial denials[3];
};

static unsigned char *page; /* what is sealed */
static char *reached;       /* shared with the child: the protection, or what went wrong */

static void seal_a_page(void *unused) {
    (void)unused;
    strcpy(reached, ia2_map_seal(page, 4000));
    for (int i = 0; i < 4000; i++) {
        if (page[i] != 'x') {
            strcpy(reached, "contents lost");
        }
    }
    if (strcmp(reached, "writable memory") != 0) {
        signal(SIGSEGV, SIG_DFL);
        page[17] = 'y';
    }
}

static void share(void) {
    reached = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)reached, MAP_FAILED);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)page, MAP_FAILED);
    memset(page, 'x', 4096);
}

static void limit(int resource) {
    struct rlimit none;
    if (getrlimit(resource, &none) != 0) {
        _exit(98);
    }
    none.rlim_cur = 0;
    if (setrlimit(resource, &none) != 0) {
        _exit(98);
    }
}

static void seal_without_descriptors(void *unused) {
    limit(RLIMIT_NOFILE);
    seal_a_page(unused);
}

static void seal_without_files(void *unused) {
    limit(RLIMIT_FSIZE);
    seal_a_page(unused);
}

/* The page keeps its contents and, whatever the protection, a write to it dies. */
static void expect_protection(const struct denial *denials, void (*body)(void *), const char *what,
                              const char *expected) {
    int status = run_denied(denials, body, NULL);
    bool died = WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
    cr_expect_eq(died, strcmp(expected, "writable memory") != 0, "%s: status %x", what, (unsigned)status);
    cr_expect_str_eq(reached, expected, "%s: %s, expected %s", what, reached, expected);
}

ParameterizedTestParameters(map_fallback, the_next_best_thing_is_taken) {
    static struct without cases[] = {
        {"nothing", "sealed file, mseal", "sealed file", {{0}}},
        {"mseal", "sealed file", "sealed file", {{SYS_mseal, 0, ENOSYS, 0}}},
        {"MFD_NOEXEC_SEAL", "sealed file, mseal", "sealed file", {{SYS_memfd_create, MFD_NOEXEC_SEAL, EINVAL, 1}}},
        {"memfd_create", "private memory, mseal", "private memory", {{SYS_memfd_create, 0, ENOSYS, 0}}},
        {"room for a file", "private memory, mseal", "private memory", {{SYS_write, 0, ENOSPC, 0}}},
        {"seals", "private memory, mseal", "private memory", {{SYS_fcntl, 0, EPERM, 0}}},
        {"limits", "private memory, mseal", "private memory", {{SYS_prlimit64, 0, ENOSYS, 0}}},
        {"files and mseal",
         "private memory",
         "private memory",
         {{SYS_memfd_create, 0, EMFILE, 0}, {SYS_mseal, 0, ENOSYS, 0}}},
        {"files and mprotect",
         "writable memory",
         "writable memory",
         {{SYS_memfd_create, 0, EMFILE, 0}, {SYS_mprotect, 0, ENOMEM, 0}}},
    };
    return cr_make_param_array(struct without, cases, sizeof cases / sizeof *cases);
}

ParameterizedTest(struct without *without, map_fallback, the_next_best_thing_is_taken, .init = share) {
    expect_protection(without->denials, seal_a_page, without->what,
                      has_mseal() ? without->expected : without->expected_before);
}

/* Before Linux 6.7 a sealed file is mapped through another descriptor than the one that wrote it. The filter knows them apart by their
 * lowest bit: the writer's is odd here, the next one even. */
static const struct denial old_kernel = {SYS_mmap, 1, EPERM, 4};

static void let_the_next_descriptor_be_odd(void) {
    int next = dup(0);
    cr_assert_geq(next, 0);
    if (next % 2 == 1) {
        close(next);
    }
}

Test(map_fallback, an_old_kernel_maps_the_file_through_proc, .init = share) {
    let_the_next_descriptor_be_odd();
    expect_protection((const struct denial[]){old_kernel, {0}}, seal_a_page, "an old kernel",
                      has_mseal() ? "sealed file, mseal" : "sealed file");
}

Test(map_fallback, an_old_kernel_without_proc_has_private_memory, .init = share) {
    let_the_next_descriptor_be_odd();
    expect_protection((const struct denial[]){old_kernel, {SYS_openat, 0, ENOENT, 0}, {0}}, seal_a_page,
                      "an old kernel without /proc", has_mseal() ? "private memory, mseal" : "private memory");
}

static void expect_private_memory(void (*body)(void *), const char *what) {
    expect_protection((const struct denial[]){{0}}, body, what,
                      has_mseal() ? "private memory, mseal" : "private memory");
}

/* A memory file counts as a file: a write beyond the limit would be the program's SIGXFSZ. */
Test(map_fallback, a_limit_on_file_sizes_does_not_hurt, .init = share) {
    expect_private_memory(seal_without_files, "file sizes");
}

Test(map_fallback, no_descriptor_left_does_not_hurt, .init = share) {
    expect_private_memory(seal_without_descriptors, "descriptors");
}
