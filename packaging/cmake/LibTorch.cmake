# SPDX-License-Identifier: Apache-2.0
# Imported targets c10 and torch_cpu of the PyPI torch wheel, and `torch`, which links both.
# find_package(Torch) of that wheel wants a CUDA toolkit even for CPU targets, so we name the two libraries ourselves;
# the CUDA part is loaded at run time (kernels/cuda_library).
if(DEFINED ENV{XDG_CACHE_HOME})
  set(_cache "$ENV{XDG_CACHE_HOME}")
else()
  set(_cache "$ENV{HOME}/.cache")
endif()
set(FLASHMORPH_TORCH_VERSION 2.11.0)
set(FLASHMORPH_TORCH_DIR "${_cache}/flashmorph/torch-${FLASHMORPH_TORCH_VERSION}-cpu/torch"
    CACHE PATH "Folder torch/ of the wheel, made by packaging/setup")
if(NOT EXISTS "${FLASHMORPH_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch not found in ${FLASHMORPH_TORCH_DIR}: run packaging/setup, or set FLASHMORPH_TORCH_DIR")
endif()
foreach(lib c10 torch_cpu)
  add_library(${lib} SHARED IMPORTED GLOBAL)
  set_target_properties(${lib} PROPERTIES
    IMPORTED_LOCATION "${FLASHMORPH_TORCH_DIR}/lib/lib${lib}.so"
    INTERFACE_INCLUDE_DIRECTORIES "${FLASHMORPH_TORCH_DIR}/include;${FLASHMORPH_TORCH_DIR}/include/torch/csrc/api/include")
endforeach()
# The wheel's headers bring a newer fmt than the system's and come first on the include path; its compiled half is made here.
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/pch/torch_fmt.cpp CONTENT "#include <fmt/format-inl.h>
FMT_BEGIN_NAMESPACE
namespace detail {
template FMT_API auto dragonbox::to_decimal(float x) noexcept -> dragonbox::decimal_fp<float>;
template FMT_API auto dragonbox::to_decimal(double x) noexcept -> dragonbox::decimal_fp<double>;
template FMT_API auto thousands_sep_impl(locale_ref) -> thousands_sep_result<char>;
template FMT_API auto decimal_point_impl(locale_ref) -> char;
template FMT_API void buffer<char>::append(const char*, const char*);
}
FMT_END_NAMESPACE
")
add_library(torch_fmt STATIC ${CMAKE_BINARY_DIR}/pch/torch_fmt.cpp)
target_include_directories(torch_fmt SYSTEM PRIVATE "${FLASHMORPH_TORCH_DIR}/include")
add_library(torch INTERFACE)
target_link_libraries(torch INTERFACE torch_cpu c10 torch_fmt ${CMAKE_DL_LIBS})
list(APPEND CMAKE_BUILD_RPATH "${FLASHMORPH_TORCH_DIR}/lib")

# One precompiled header serves every target that uses torch: flashmorph_torch_target(NAME).
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/pch)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/pch/pch.cpp CONTENT "// anchor of the shared precompiled header\n")
add_library(torch_pch OBJECT ${CMAKE_BINARY_DIR}/pch/pch.cpp)
target_link_libraries(torch_pch PRIVATE torch warnings nlohmann_json::nlohmann_json fmt::fmt)
target_precompile_headers(torch_pch PRIVATE <ATen/ATen.h> <torch/csrc/autograd/autograd.h>
  <torch/csrc/autograd/custom_function.h> <nlohmann/json.hpp> <fmt/format.h>
  <algorithm> <filesystem> <fstream> <functional> <map> <memory> <optional> <sstream> <string> <vector>)
function(flashmorph_torch_target name)
  # fmt and JSON: their definitions must agree with those of the precompiled header
  target_link_libraries(${name} PUBLIC torch PRIVATE warnings nlohmann_json::nlohmann_json fmt::fmt)
  target_precompile_headers(${name} REUSE_FROM torch_pch)
endfunction()
