// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <exception>
#include <filesystem>

#include <ATen/Context.h>

namespace flashmorph::kernels {
namespace {

namespace fs = std::filesystem;

// The driver's own interface: asked first, because it is small and says whether loading the rest is
// worth it.
std::string list_devices(std::vector<CudaDevice>& devices) {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (driver == nullptr) return "no NVIDIA driver is installed (libcuda.so.1 is missing)";
  const auto function = [driver]<typename F>(F*& pointer, const char* name) {
    pointer = reinterpret_cast<F*>(dlsym(driver, name));
    return pointer != nullptr;
  };
  int (*init)(unsigned) = nullptr;
  int (*count_devices)(int*) = nullptr;
  int (*get_device)(int*, int) = nullptr;
  int (*get_name)(char*, int, int) = nullptr;
  int (*get_memory)(size_t*, int) = nullptr;
  int (*get_attribute)(int*, int, int) = nullptr;
  if (!function(init, "cuInit") || !function(count_devices, "cuDeviceGetCount") ||
      !function(get_device, "cuDeviceGet") || !function(get_name, "cuDeviceGetName") ||
      !function(get_memory, "cuDeviceTotalMem_v2") ||
      !function(get_attribute, "cuDeviceGetAttribute"))
    return "the NVIDIA driver lacks a function that we need; please update it";
  int count = 0;
  if (const int code = init(0); code != 0)
    return "the NVIDIA driver found no usable GPU (cuInit gave error " + std::to_string(code) + ")";
  if (count_devices(&count) != 0 || count == 0) return "the NVIDIA driver found no GPU";
  constexpr int major_attribute = 75, minor_attribute = 76;  // of the driver's CUdevice_attribute
  for (int i = 0; i < count; ++i) {
    CudaDevice device;
    device.index = i;
    int handle = 0;
    char name[256] = {};
    size_t bytes = 0;
    if (get_device(&handle, i) != 0 || get_name(name, sizeof(name) - 1, handle) != 0 ||
        get_memory(&bytes, handle) != 0 ||
        get_attribute(&device.capability_major, major_attribute, handle) != 0 ||
        get_attribute(&device.capability_minor, minor_attribute, handle) != 0)
      return "the NVIDIA driver gave no description of GPU " + std::to_string(i);
    device.name = name;
    device.memory_bytes = static_cast<int64_t>(bytes);
    devices.push_back(device);
  }
  return {};
}

std::string loader_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "unknown error of the dynamic loader";
}

// libtorch_cuda.so lies beside the libtorch_cpu.so that this program runs with.
fs::path torch_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&at::globalContext), &info) != 0 && info.dli_fname != nullptr)
    return fs::path(info.dli_fname).parent_path();
  return {};
}

std::string load_torch() {
  const fs::path beside = torch_folder() / "libtorch_cuda.so";
  std::error_code ignored;
  const std::string file = fs::exists(beside, ignored) ? beside.string() : "libtorch_cuda.so";
  if (dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr)
    return "LibTorch's CUDA part does not load: " + loader_error();
  if (!at::globalContext().hasCUDA())
    return "LibTorch's CUDA part is loaded but finds no usable GPU";
  return {};
}

std::string load_own_kernels(const char* wanted) {
  constexpr const char* name = "libflashmorph_kernels_cuda.so";
  std::vector<fs::path> candidates;
  if (wanted != nullptr && *wanted != '\0') {
    candidates.emplace_back(wanted);
  } else {
    std::error_code ignored;
    const fs::path folder = fs::read_symlink("/proc/self/exe", ignored).parent_path();
    candidates = {folder / name, folder.parent_path() / "lib" / "flashmorph" / name,
                  folder.parent_path() / "lib" / name};
  }
  for (const auto& file : candidates) {
    std::error_code ignored;
    if (!fs::exists(file, ignored)) continue;
    if (dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr)
      return "our CUDA kernels do not load, LibTorch's own operators are used: " + loader_error();
    return {};
  }
  return "our CUDA kernels were not found (" + candidates.front().string() +
         "), LibTorch's own operators are used";
}

CudaStatus find() {
  CudaStatus status;
  const char* wanted = std::getenv("FLASHMORPH_CUDA_LIBRARY");
  if (wanted != nullptr && std::string(wanted) == "none") {
    status.reason = "CUDA is switched off by FLASHMORPH_CUDA_LIBRARY=none";
    return status;
  }
  try {
    status.reason = list_devices(status.devices);
    if (!status.reason.empty()) return status;
    status.reason = load_torch();
    if (!status.reason.empty()) return status;
    status.available = true;
    status.reason = load_own_kernels(wanted);
    status.own_kernels = status.reason.empty();
  } catch (const std::exception&
               error) {  // LibTorch or a kernel library threw while it registered itself
    status.reason = std::string("loading the CUDA part failed: ") + error.what();
  }
  return status;
}

}  // namespace

const CudaStatus& load_cuda() {
  static const CudaStatus status = find();
  return status;
}

}  // namespace flashmorph::kernels
