// SPDX-License-Identifier: Apache-2.0
#include "core/serve/failure.h"

#include <filesystem>
#include <new>

#include <c10/util/Exception.h>

namespace flashmorph {

namespace {

Error of_text(const std::string& what, const std::string& stage) {
  const std::string text = what.substr(0, what.find('\n'));
  const auto says = [&](const char* words) { return text.find(words) != std::string::npos; };
  if (says("out of memory") || says("not enough memory") || says("alloc_cpu"))
    return {stage, ErrorCode::out_of_memory, "out of memory: " + text,
            "use a shorter length or a smaller batch"};
  if (says("CUDA error") || says("CUDA driver error") || says("device-side assert"))
    return {stage, ErrorCode::device_lost, "the device does not answer: " + text,
            "unload the model, or restart the engine"};
  return {stage, ErrorCode::internal, text,
          "please report this sentence together with the command"};
}

}  // namespace

Error error_of(const std::exception_ptr& thrown, const std::string& stage) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    return error;
  } catch (const c10::OutOfMemoryError& failure) {
    return of_text(std::string("out of memory: ") + failure.what_without_backtrace(), stage);
  } catch (const c10::Error& failure) {
    return of_text(failure.what_without_backtrace(), stage);
  } catch (const std::bad_alloc&) {
    return of_text("out of memory", stage);
  } catch (const std::filesystem::filesystem_error& failure) {
    return {stage, ErrorCode::bad_file, failure.what()};
  } catch (const std::exception& failure) {
    return of_text(failure.what(), stage);
  } catch (...) {
    return {stage, ErrorCode::internal, "something was thrown that is no exception"};
  }
}

}  // namespace flashmorph
