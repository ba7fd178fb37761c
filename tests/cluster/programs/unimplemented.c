// SPDX-License-Identifier: MIT OR Apache-2.0
// Numbers that are no system calls answer ENOSYS, however strange, and the process goes on.
#define _GNU_SOURCE
#include "check.h"
#include <stdint.h>
#include <sys/syscall.h>

int main(void) {
    for (long number = 1000; number < 1100; number++) FAILS(syscall(number, -1, -1, -1, -1, -1, -1), ENOSYS);
    // The kernel's own calls have negative numbers.
    for (long number = -1; number > -64; number--) FAILS(syscall(number, -1, -1, -1, -1, -1, -1), ENOSYS);
    static const uint64_t strange[] = {0x7fffffff, 0xffffffff, 0x80000000, 0x3ff};
    for (int i = 0; i < 4; i++) FAILS(syscall((long)strange[i], 1, 2, 3, 4, 5, 6), ENOSYS);
    CHECK(getpid() > 0);
    return check_end("unimplemented");
}
