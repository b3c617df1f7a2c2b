/* faults SCENARIO [handler|ignored]: its last destructor, faulty(), goes wrong all by itself. Main catches the signal, or ignores it. */
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <semaphore.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace {

struct Base {
    Base();
    virtual ~Base() = default;
    virtual void pure() = 0;
};

[[gnu::noinline]] void call(Base &object) { object.pure(); }

Base::Base() { call(*this); } /* its table is still Base's own */

struct Derived : Base {
    void pure() override {}
};

const char *scenario;
volatile int *volatile nowhere;
void (*volatile wild)();
volatile int none;
volatile int *const zero = &none;
constexpr std::size_t LARGE = 1 << 20; /* glibc gives it back to the kernel when it is freed */
sem_t ready;

int endless(int depth) {
    volatile char room[512];
    room[0] = static_cast<char>(depth);
    return nowhere ? 0 : endless(depth + 1) + room[0];
}

/* What `ia2exit run --timeout` does, from within; and on when the other thread has answered. */
void ask_where_it_hangs() {
    std::thread([] {
        sigset_t question;
        sigset_t before;
        sigemptyset(&question);
        sigaddset(&question, SIGRTMAX - 2);
        pthread_sigmask(SIG_BLOCK, &question, &before); /* until it waits */
        sem_post(&ready);
        sigsuspend(&before);
        sem_post(&ready);
    }).detach();
    sem_wait(&ready);
    kill(getpid(), SIGRTMAX - 2);
    sem_wait(&ready);
}

/* A sandbox that the program has made for itself. */
void forbid_getppid() {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter = {sizeof program / sizeof *program, program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        _exit(96);
    }
}

void on_signal(int signal) {
    const char text[] = "main's handler\n";
    if (write(STDOUT_FILENO, text, sizeof text - 1) < 0) {
        _exit(1);
    }
    _exit(signal + 10);
}

} // namespace

extern "C" {
void *__libc_malloc(std::size_t size); /* glibc's own, whatever is preloaded */
void __libc_free(void *memory);

void faulty() {
    auto is = [](const char *name) { return std::strcmp(scenario, name) == 0; };
    if (is("null")) {
        *nowhere = 1;
    } else if (is("null-call") || is("unloaded")) {
        wild();
    } else if (is("abort")) {
        std::abort();
    } else if (is("terminate")) {
        throw std::runtime_error("from a destructor");
    } else if (is("pure-virtual")) {
        Derived object;
    } else if (is("overflow")) {
        std::exit(endless(1));
    } else if (is("trap")) {
        __builtin_trap();
    } else if (is("breakpoint")) {
        asm volatile("int3");
    } else if (is("raised-trap")) {
        std::raise(SIGTRAP);
    } else if (is("forbidden")) {
        forbid_getppid();
        getppid();
    } else if (is("raised-sys")) {
        std::raise(SIGSYS);
    } else if (is("freed")) {
        auto *memory = static_cast<volatile char *>(__libc_malloc(LARGE));
        __libc_free(const_cast<char *>(memory));
        memory[LARGE / 2] = 1;
    } else if (is("divide")) {
        *zero = getpid() / *zero;
    } else if (is("bus")) {
        int file = memfd_create("empty", 0);
        auto *page = static_cast<volatile char *>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0));
        std::exit(page[0]);
    } else if (is("double-free")) {
        void *memory = __libc_malloc(100);
        __libc_free(memory);
        __libc_free(memory);
    } else if (is("hang")) {
        ask_where_it_hangs();
    }
}
}

int main(int count, char **arguments) {
    scenario = arguments[1];
    sem_init(&ready, 0, 0);
    if (std::strcmp(scenario, "unloaded") == 0) {
        void *library = dlopen("libBrokenLocale.so.1", RTLD_LAZY); /* of libc, and nobody else's here */
        wild = reinterpret_cast<void (*)()>(dlsym(library, "__ctype_get_mb_cur_max"));
        dlclose(library);
    }
    if (count > 2) {
        for (int signal : {SIGSEGV, SIGABRT, SIGILL, SIGFPE, SIGBUS, SIGTRAP, SIGSYS}) {
            std::signal(signal, std::strcmp(arguments[2], "handler") == 0 ? on_signal : SIG_IGN);
        }
    }
    std::atexit(faulty);
    return 0;
}
