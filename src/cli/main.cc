#include <malloc.h>

#include "cli/invocation.h"

// Memory is bounded by what is counted (docs/internals/app.md), so what is freed must not stay behind: large blocks are
// the kernel's each, however often they come and go, instead of parts of a heap that they leave in pieces.
int main(int argc, char** argv) {
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
  mallopt(M_TRIM_THRESHOLD, 8 << 20);
  return foreshard::cli::run_command_line(argc, argv);
}
