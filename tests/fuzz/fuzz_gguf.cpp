// SPDX-License-Identifier: Apache-2.0
// Any bytes as a GGUF file: metadata, configuration, tensors and tokenizer are read or refused.
#include <cstdint>
#include <functional>

#include "core/load/gguf.h"
#include "core/load/gguf_model.h"
#include "core/load/tensor_table.h"
#include "core/load/tokenizer.h"
#include "core/run/error.h"

namespace {

// The questions go on after a refusal: each may fail on its own.
void may_refuse(const std::function<void()>& question) {
  try {
    question();
  } catch (const flashmorph::Error&) {
    // refused in a sentence: what we want
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  may_refuse([&] {
    const flashmorph::GgufFile file({reinterpret_cast<const std::byte*>(data), size}, "fuzz.gguf");
    for (const auto& [key, value] : file.metadata()) {
      may_refuse([&, &name = key] { file.texts(name); });
      may_refuse([&, &name = key] { file.integers(name); });
      may_refuse([&, &name = key] { file.numbers(name); });
      may_refuse([&, &name = key] { file.number(name); });
    }
    for (const auto& [name, tensor] : file.tensors()) file.dequantize(name);
    may_refuse([&] {
      const auto config = flashmorph::gguf_model_config(file);
      for (const auto& spec : flashmorph::tensor_table(config))
        flashmorph::gguf_tensor_name(spec.name);
    });
    may_refuse([&] {
      const auto fields = flashmorph::gguf_tokenizer_fields(file);
      flashmorph::Tokenizer::from_gguf(fields, "fuzz.gguf").encode("The pass key is 71432.");
    });
  });
  return 0;
}
