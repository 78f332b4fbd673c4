#include "cli/invocation.h"

int main(int argc, char** argv) { return foreshard::cli::run_command_line(argc, argv); }
