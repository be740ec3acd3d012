# SPDX-License-Identifier: Apache-2.0
# version.h with the version of the project and the commit it was built from.
execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} rev-parse --short=12 HEAD
                OUTPUT_VARIABLE FLASHMORPH_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT FLASHMORPH_COMMIT)
  set(FLASHMORPH_COMMIT unknown)
endif()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/flashmorph_version.h CONTENT
"// SPDX-License-Identifier: Apache-2.0
#pragma once
#define FLASHMORPH_VERSION \"${PROJECT_VERSION}\"
#define FLASHMORPH_COMMIT \"${FLASHMORPH_COMMIT}\"
#define FLASHMORPH_TORCH_VERSION \"${FLASHMORPH_TORCH_VERSION}\"
")
add_library(version INTERFACE)
target_include_directories(version INTERFACE ${CMAKE_BINARY_DIR}/generated)
