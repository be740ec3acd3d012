// SPDX-License-Identifier: Apache-2.0
// The engine's command line.
#include "core/cli/program.h"

int main(int argc, char** argv) { return flashmorph::run_program(argc, argv); }
