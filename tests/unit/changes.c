#include "changes.h"

#include <criterion/criterion.h>
#include <pthread.h>

TestSuite(changes, .timeout = 60);

Test(changes, a_thread_that_is_new_has_all_to_apply_once) {
    struct ia2_thread thread = {0};
    ia2_changes_tell(IA2_KEYS_CHANGED);
    cr_assert(ia2_changes_due(&thread));
    cr_assert_eq(ia2_changes_take(&thread), IA2_KEYS_CHANGED);
    cr_assert(!ia2_changes_due(&thread));
    cr_assert_eq(ia2_changes_take(&thread), 0);
}

Test(changes, each_thread_applies_them_for_itself) {
    struct ia2_thread one = {0}, other = {0};
    ia2_changes_tell(IA2_MAPPINGS_CHANGED);
    cr_assert_eq(ia2_changes_take(&one), IA2_MAPPINGS_CHANGED);
    cr_assert(ia2_changes_due(&other));
    cr_assert_eq(ia2_changes_take(&other), IA2_MAPPINGS_CHANGED);
}

Test(changes, the_list_does_not_grow) {
    struct ia2_thread thread = {0};
    for (int i = 0; i < 100000; i++) {
        ia2_changes_tell(IA2_KEYS_CHANGED);
        ia2_changes_tell(IA2_MAPPINGS_CHANGED);
    }
    cr_assert_eq(ia2_changes_take(&thread), IA2_KEYS_CHANGED | IA2_MAPPINGS_CHANGED);
    cr_assert(!ia2_changes_due(&thread));
}

Test(changes, what_goes_while_nobody_runs_is_free_at_once) {
    const uint64_t gone = ia2_changes_retire();
    cr_assert_lt(gone, ia2_changes_oldest());
}

Test(changes, what_goes_during_a_destructor_is_free_when_it_has_returned) {
    struct ia2_thread *thread = ia2_self();
    ia2_changes_begin_run(thread);
    const uint64_t gone = ia2_changes_retire();
    cr_assert_geq(gone, ia2_changes_oldest());
    ia2_changes_end_run(thread);
    cr_assert_lt(gone, ia2_changes_oldest());
}

Test(changes, what_went_before_it_began_is_not_kept) {
    struct ia2_thread *thread = ia2_self();
    const uint64_t gone = ia2_changes_retire();
    ia2_changes_begin_run(thread);
    cr_assert_lt(gone, ia2_changes_oldest());
}

static void *end_within_a_destructor(void *gone) {
    ia2_changes_begin_run(ia2_self());
    *(uint64_t *)gone = ia2_changes_retire();
    cr_assert_geq(*(uint64_t *)gone, ia2_changes_oldest());
    return NULL;
}

Test(changes, a_thread_that_ended_within_a_destructor_keeps_nothing) {
    uint64_t gone = 0;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, end_within_a_destructor, &gone), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    while (gone >= ia2_changes_oldest()) {
        sched_yield(); /* the kernel lets a thread be joined a little before it forgets its number */
    }
}
