/* For LD_PRELOAD with a linux.uml that was built for processors without AMX.
 *
 * On a processor with AMX a process's extended state (XSAVE) takes 11 KB. The kernels that need this
 * keep less of it, and the host refuses (EFAULT) to set less than all by PTRACE_SETREGSET: the VM's
 * first process can't be started. So each such call is made with the whole state here. What the VM's
 * kernel does not know of gets the value it has in a process that never used it, zeroes: no program
 * in the VM can get the permission to use AMX. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define GET_REGSET 0x4204
#define SET_REGSET 0x4205
#define XSTATE_NOTE 0x202 /* NT_X86_XSTATE */

static unsigned char whole[1 << 16] __attribute__((aligned(64)));

/* How many bytes the host's kernel wants; 0 when it can't be asked. The same for all processes. */
static size_t wanted_size(long pid)
{
    static size_t known;
    struct iovec all = {whole, sizeof whole};

    if (known == 0 && syscall(SYS_ptrace, GET_REGSET, pid, XSTATE_NOTE, &all) == 0) {
        known = all.iov_len;
        memset(whole, 0, sizeof whole);
    }
    return known;
}

/* The kernel's own call gives the word that was read by way of a pointer; glibc's returns it. */
static long peek(long request, long pid, long address)
{
    long word;

    if (syscall(SYS_ptrace, request, pid, address, &word) < 0)
        return -1;
    errno = 0;
    return word;
}

long ptrace(int request, ...)
{
    va_list words;
    va_start(words, request);
    long pid = va_arg(words, int);
    long address = va_arg(words, long);
    long data = va_arg(words, long);
    va_end(words);

    if (request >= 1 && request <= 3) /* PTRACE_PEEKTEXT, PEEKDATA, PEEKUSER */
        return peek(request, pid, address);
    if (request == SET_REGSET && address == XSTATE_NOTE) {
        const struct iovec *given = (const struct iovec *)data;
        size_t size = wanted_size(pid);

        if (given->iov_len < size) {
            struct iovec completed = {whole, size};

            memcpy(whole, given->iov_base, given->iov_len);
            return syscall(SYS_ptrace, SET_REGSET, pid, address, &completed);
        }
    }
    return syscall(SYS_ptrace, (long)request, pid, address, data);
}
