# SPDX-License-Identifier: Apache-2.0
# warnings: interface target with the warnings every own target compiles with; sanitizers for all.
add_library(warnings INTERFACE)
target_compile_options(warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
                                          -Wold-style-cast -Woverloaded-virtual -Wno-unused-parameter)
if(FLASHMORPH_SANITIZE)
  add_compile_options(-fsanitize=${FLASHMORPH_SANITIZE} -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${FLASHMORPH_SANITIZE})
endif()
