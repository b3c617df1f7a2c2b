/* What the runtime keeps about a thread: whose slot it is, whatever the thread's hint says. Each test is a process of its own. */
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(thread, .timeout = 50);

static void on_thread(void *(*body)(void *), void *argument, void *stack) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    if (stack) {
        pthread_attr_setstack(&attributes, stack, 1 << 16);
    }
    cr_assert_eq(pthread_create(&thread, &attributes, body, argument), 0);
    pthread_join(thread, NULL);
}

static void *new_stack(void) { return mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

static bool is_mine(const struct ia2_thread *thread) {
    return thread->base == (uintptr_t)__builtin_thread_pointer() && thread->tid == (uint32_t)gettid() &&
           thread->pid == (uint32_t)getpid();
}

/* ---- one thread ----------------------------------------------------------------------------------------------------------------------- */

Test(thread, a_thread_has_one_slot) {
    struct ia2_thread *thread = ia2_self();
    cr_expect_neq(ia2_thread_slot(thread), 0, "nothing is enforced in the shared one");
    cr_expect(is_mine(thread));
    cr_expect_eq(ia2_self(), thread);
}

Test(thread, whatever_the_hint_says_the_slot_stays) {
    struct ia2_thread *thread = ia2_self();
    thread->depth = 3;
    const uint32_t hints[] = {0, 1, 2, 700, IA2_THREADS - 1, IA2_THREADS, IA2_THREADS + 1, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        ia2_thread_hint = hints[i];
        cr_expect_eq(ia2_self(), thread, "%x", hints[i]);
        cr_expect_eq(thread->depth, 3);
        cr_expect(is_mine(thread));
    }
}

static void *take_hint_of_another(void *another) {
    const struct ia2_thread *theirs = another;
    ia2_thread_hint = ia2_thread_slot(theirs);
    cr_expect_neq(ia2_self(), theirs);
    cr_expect(is_mine(ia2_self()));
    return NULL;
}

Test(thread, the_hint_of_another_thread_opens_no_door) {
    struct ia2_thread *thread = ia2_self();
    thread->depth = 3;
    on_thread(take_hint_of_another, thread, NULL);
    cr_expect_eq(thread->depth, 3);
    cr_expect_eq(ia2_self(), thread);
}

/* ---- one after the other ----------------------------------------------------------------------------------------------------------- */

static void *leave_traces(void *slot) {
    struct ia2_thread *thread = ia2_self();
    thread->depth = thread->guarded = 5;
    thread->closing = thread->has_our_stack = true;
    thread->running = (struct exit_record *)8;
    thread->alternate_stack = (void *)0x1000;
    *(struct ia2_thread **)slot = thread;
    return NULL;
}

static void *find_no_traces(void *slot) {
    struct ia2_thread *thread = ia2_self();
    cr_expect(is_mine(thread));
    cr_expect_eq(thread->depth, 0);
    cr_expect_eq(thread->guarded, 0);
    cr_expect_not(thread->closing);
    cr_expect_not(thread->has_our_stack);
    cr_expect_null(thread->running);
    *(struct ia2_thread **)slot = thread;
    return NULL;
}

/* glibc keeps stacks, and with them the thread pointers, for the next thread. */
Test(thread, the_next_thread_at_the_same_place_gets_the_slot_but_not_the_state) {
    struct ia2_thread *first;
    struct ia2_thread *second;
    void *stack = new_stack();
    on_thread(leave_traces, &first, stack);
    on_thread(find_no_traces, &second, stack);
    cr_expect_eq(second, first);
    cr_expect_eq(second->alternate_stack, (void *)0x1000, "our stack for handlers is used again");
}

Test(thread, ten_thousand_threads_one_after_the_other) {
    bool seen[IA2_THREADS] = {false};
    unsigned slots = 0;
    for (int i = 0; i < 10000; i++) {
        struct ia2_thread *thread = NULL;
        on_thread(find_no_traces, &thread, NULL);
        slots += !seen[ia2_thread_slot(thread)];
        seen[ia2_thread_slot(thread)] = true;
    }
    cr_expect_not(seen[0]);
    cr_expect_leq(slots, 10, "%u slots for one thread at a time", slots);
}

/* ---- many at once ----------------------------------------------------------------------------------------------------------------------- */

enum { MANY = 1100 };
static struct ia2_thread *slot_of[MANY];
static sem_t ready, done;

static void *take_slot_and_wait(void *at) {
    struct ia2_thread *thread = ia2_self();
    *(struct ia2_thread **)at = thread;
    cr_expect(ia2_thread_slot(thread) == 0 || is_mine(thread));
    sem_post(&ready);
    while (sem_wait(&done) != 0) {
    }
    cr_expect(ia2_thread_slot(thread) == 0 || ia2_self() == thread, "who has a slot keeps it");
    return NULL;
}

static void run_many(void) {
    static pthread_t threads[MANY];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 16);
    for (unsigned i = 0; i < MANY; i++) {
        cr_assert_eq(pthread_create(&threads[i], &attributes, take_slot_and_wait, &slot_of[i]), 0);
        while (sem_wait(&ready) != 0) {
        }
    }
    for (unsigned i = 0; i < MANY; i++) {
        sem_post(&done);
    }
    for (unsigned i = 0; i < MANY; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void prepare_many(void) {
    sem_init(&ready, 0, 0);
    sem_init(&done, 0, 0);
    ia2_self();
}

Test(thread, more_threads_than_slots_share_the_one_in_which_nothing_is_enforced, .init = prepare_many) {
    unsigned holders[IA2_THREADS] = {0};
    run_many();
    for (unsigned i = 0; i < MANY; i++) {
        holders[ia2_thread_slot(slot_of[i])]++;
    }
    for (unsigned slot = 1; slot < IA2_THREADS; slot++) {
        unsigned expected = slot == ia2_thread_slot(ia2_self()) ? 0 : 1;
        cr_expect_eq(holders[slot], expected, "slot %u has %u threads", slot, holders[slot]);
    }
    cr_expect_eq(holders[0], MANY - (IA2_THREADS - 2));
}

Test(thread, slots_of_threads_that_are_gone_are_used_again, .init = prepare_many) {
    struct ia2_thread *thread = ia2_self();
    struct ia2_thread *fresh;
    run_many();
    for (int i = 0; i < 20; i++) {
        on_thread(find_no_traces, &fresh, new_stack());
        cr_expect_neq(ia2_thread_slot(fresh), 0);
        cr_expect_neq(fresh, thread, "this one is not gone");
    }
}

/* ---- children ---------------------------------------------------------------------------------------------------------------------------- */

static int in_child(int (*body)(void *), void *argument) {
    pid_t child = fork();
    if (child == 0) {
        _exit(body(argument));
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int goes_on(void *hint) {
    ia2_thread_hint = *(uint32_t *)hint;
    struct ia2_thread *thread = ia2_self();
    return thread->depth == 3 && thread->running == (void *)8 && thread->base == (uintptr_t)__builtin_thread_pointer()
               ? (int)ia2_thread_slot(thread)
               : 0;
}

Test(thread, a_child_goes_on_in_the_middle_of_a_destructor) {
    struct ia2_thread *thread = ia2_self();
    thread->depth = 3;
    thread->running = (struct exit_record *)8;
    for (uint32_t hint = 0; hint < 4; hint++) {
        cr_expect_eq(in_child(goes_on, &hint), (int)ia2_thread_slot(thread), "hint %u", hint);
    }
}

static void *notice_traces(void *noticed) {
    const struct ia2_thread *thread = ia2_self();
    *(int *)noticed = thread->depth || thread->guarded || thread->closing || thread->running || !is_mine(thread);
    return NULL;
}

static int starts_thread_there(void *stack) {
    int noticed = 2;
    on_thread(notice_traces, &noticed, stack);
    return noticed;
}

/* The thread that had its stack there in the parent does not exist in the child. */
Test(thread, a_new_thread_of_a_child_inherits_nothing) {
    struct ia2_thread *thread;
    void *stack = new_stack();
    on_thread(leave_traces, &thread, stack);
    cr_expect_eq(in_child(starts_thread_there, stack), 0);
}
