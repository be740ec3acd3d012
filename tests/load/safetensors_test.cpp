// SPDX-License-Identifier: Apache-2.0
// safetensors: sound files of the reference writer, damaged ones by hand, writing.
#include "core/load/safetensors.h"

#include <signal.h>
#include <sys/resource.h>

#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "core/run/error.h"
#include "tests/load/refused.h"
#include "tests/load/temporary_folder.h"

namespace flashmorph {
namespace {

using testing::expect_refused;
using testing::TemporaryFolder;

std::string little_endian(uint64_t value) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

std::string file_of(const std::string& header, size_t data) {
  return little_endian(header.size()) + header + std::string(data, '\1');
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + offsets +
         "]}";
}

SafetensorsHeader parse(const std::string& bytes) {
  return parse_safetensors_header(std::as_bytes(std::span(bytes)), "m.safetensors");
}

void refuse(const std::string& bytes, std::vector<std::string> words) {
  words.push_back("m.safetensors");
  expect_refused([&] { parse(bytes); }, words);
}

void refuse_header(const std::string& header, size_t data, const std::vector<std::string>& words) {
  refuse(file_of(header, data), words);
}

TEST(SafetensorsHeader, ReadsAnyOrderScalarsEmptyTensorsAndPadding) {
  const auto header = parse(
      file_of("{\"b\":" + entry("I64", "", "4,12") + ",\"a\":" + entry("BF16", "2,1", "0,4") +
                  ",\"e\":" + entry("F32", "3,0", "4,4") + ",\"__metadata__\":{\"k\":\"v\"}}   ",
              12));
  ASSERT_EQ(header.entries.size(), 3U);
  EXPECT_EQ(header.entries.at("a").begin, header.data_offset);
  EXPECT_EQ(header.entries.at("b").end, header.data_offset + 12);
  EXPECT_TRUE(header.entries.at("b").shape.empty());
  EXPECT_EQ(header.metadata.at("k"), "v");
  EXPECT_TRUE(parse(file_of("{}", 0)).entries.empty());
}

TEST(SafetensorsHeader, RefusesLengthsThatDoNotFit) {
  refuse("", {"header length"});
  refuse("1234567", {"header length"});
  refuse(little_endian(uint64_t{1} << 63) + "{}", {"header length", "at most"});
  refuse(little_endian(~uint64_t{0}) + "{}", {"header length"});
  refuse(little_endian(3) + "{}", {"header length"});
  refuse(little_endian(0), {"header"});
  refuse(little_endian(2) + "[]", {"header"});
}

TEST(SafetensorsHeader, RefusesEveryTruncation) {
  const auto whole = file_of("{\"a\":" + entry("F32", "2", "0,8") + "}", 8);
  EXPECT_NO_THROW(parse(whole));
  for (size_t size = 0; size < whole.size(); ++size) refuse(whole.substr(0, size), {});
  refuse(whole + "x", {"9 bytes of data, the tensors take 8"});
}

TEST(SafetensorsHeader, RefusesHolesOverlapsAndWrongSizes) {
  const auto two = [](const std::string& first, const std::string& second) {
    return "{\"a\":" + entry("U8", "4", first) + ",\"b\":" + entry("U8", "4", second) + "}";
  };
  refuse_header(two("0,4", "6,10"), 10, {"\"b\".data_offsets", "hole"});
  refuse_header(two("0,4", "2,6"), 6, {"\"b\".data_offsets", "inside"});
  refuse_header(two("0,4", "0,4"), 4, {"data_offsets", "inside"});
  refuse_header(two("1,5", "5,9"), 9, {"\"a\".data_offsets", "hole"});
  refuse_header(two("0,4", "4,8"), 7, {"\"b\".data_offsets", "outside"});
  refuse_header(two("4,0", "4,8"), 8, {"\"a\".data_offsets"});
  refuse_header("{\"a\":" + entry("F32", "3", "0,8") + "}", 8,
                {"\"a\".data_offsets", "8 bytes for a tensor of 12"});
}

TEST(SafetensorsHeader, RefusesOverflowingShapes) {
  for (const char* shape : {"4611686018427387904,4", "9223372036854775807,9223372036854775807",
                            "3037000500,3037000500,8"})
    refuse_header("{\"a\":" + entry("F32", shape, "0,16") + "}", 16, {"\"a\".shape", "overflows"});
  refuse_header("{\"a\":" + entry("F32", "18446744073709551615", "0,16") + "}", 16,
                {"\"a\".shape", "too large"});
  refuse_header("{\"a\":" + entry("F32", "99999999999999999999999", "0,16") + "}", 16, {"\"a\""});
  refuse_header("{\"a\":" + entry("F32", "-1", "0,16") + "}", 16, {"\"a\"", "negative"});
  refuse_header("{\"a\":" + entry("F32", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "0,4") + "}", 4,
                {"\"a\".shape", "dimensions"});
  refuse_header("{\"a\":" + entry("F32", "1", "0,18446744073709551615") + "}", 4,
                {"\"a\".data_offsets"});
  refuse_header("{\"a\":" + entry("F32", "1", "9223372036854775804,9223372036854775807") + "}", 4,
                {"\"a\".data_offsets"});
}

TEST(SafetensorsHeader, RefusesWrongFields) {
  const auto one = entry("U8", "1", "0,1");
  refuse_header("{\"a\":" + one + ",\"a\":" + one + "}", 1, {"\"a\"", "twice"});
  refuse_header("{\"a\":" + entry("Q4", "1", "0,1") + "}", 1, {"\"a\".dtype", "Q4"});
  refuse_header("{\"a\":" + entry("F32", "1.5", "0,4") + "}", 4, {"\"a\"", "fraction"});
  refuse_header("{\"a\":" + entry("F32", "1", "0,4,8") + "}", 4,
                {"\"a\".data_offsets", "3 numbers"});
  refuse_header("{\"a\":" + entry("F32", "[1]", "0,4") + "}", 4, {"m.safetensors"});
  refuse_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, {"\"a\".data_offsets", "missing"});
  refuse_header("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, {"\"a\".dtype", "missing"});
  refuse_header("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                1, {"\"a\".dtype", "twice"});
  refuse_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
                {"\"a\".shape", "twice"});
  refuse_header("{\"a\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, {"\"a\""});
  refuse_header("{\"a\":null}", 0, {"\"a\"", "null"});
  refuse_header("{\"a\":[]}", 0, {"\"a\""});
  refuse_header("{\"a\":\"x\"}", 0, {"\"a\""});
  refuse_header("{\"__metadata__\":{\"k\":1}}", 0, {"__metadata__", "\"k\""});
  refuse_header("{\"__metadata__\":{\"k\":{}}}", 0, {"__metadata__"});
  refuse_header("{\"__metadata__\":{\"k\":\"a\",\"k\":\"b\"}}", 0, {"__metadata__", "twice"});
  refuse_header("{\"a\\u0000b\":" + one + "}", 1, {"a\\x00b", "NUL"});
  refuse_header("{\"" + std::string(1 << 16, 'n') + "\":" + one + "}", 1,
                {"a name of 65536 bytes"});
  refuse_header("{\"a\":" + one + "} x", 1, {"not valid JSON"});
  refuse_header("{\"a\":" + std::string(100000, '[') + "}", 0, {"nested deeper"});
  refuse_header(std::string("{\0}", 3), 0, {"not valid JSON"});
}

TEST(SafetensorsFile, MapsWithoutCopyAndKeepsTheMapAlive) {
  const TemporaryFolder folder;
  const auto values = at::arange(24, at::kFloat).view({2, 3, 4});
  write_safetensors(folder.path() / "m.safetensors",
                    {{"a", values}, {"b", at::full({3}, 7, at::kByte)}}, {});
  at::Tensor kept;
  {
    const SafetensorsFile file(folder.path() / "m.safetensors");
    EXPECT_EQ(file.tensor("a").data_ptr(), file.tensor("a").data_ptr());  // the map itself
    kept = file.tensor("a");
    EXPECT_EQ(file.metadata().at("format"), "pt");
    expect_refused([&] { file.tensor("c"); }, {"m.safetensors", "\"c\"", "missing"});
  }
  EXPECT_TRUE(at::equal(kept, values));
}

TEST(SafetensorsFile, CopiesMisalignedData) {
  const TemporaryFolder folder;
  const std::string header =
      "{\"a\":" + entry("F32", "3", "1,13") + ",\"u\":" + entry("U8", "1", "0,1") + "}";
  std::string bytes = file_of(header, 1);
  const float values[] = {1.5F, -2.0F, 3.25F};
  bytes.append(reinterpret_cast<const char*>(values), sizeof(values));
  const SafetensorsFile file(folder.write("m.safetensors", bytes));
  EXPECT_TRUE(at::equal(file.tensor("a"), at::tensor({1.5F, -2.0F, 3.25F})));
  EXPECT_TRUE(at::equal(file.tensor("a", at::kBFloat16, at::kCPU),
                        at::tensor({1.5F, -2.0F, 3.25F}).to(at::kBFloat16)));
}

TEST(SafetensorsFile, ReadsWhatTheReferenceWriterWrote) {
  const SafetensorsFile file(TEST_DATA_DIR "/golden/tiny/llama_tied/golden.safetensors");
  EXPECT_EQ(file.tensor("input_ids").sizes(), (at::IntArrayRef{1, 24}));
  EXPECT_EQ(file.tensor("input_ids").scalar_type(), at::kLong);
  EXPECT_EQ(file.tensor("logits").sizes(), (at::IntArrayRef{1, 24, 136}));
}

TEST(SafetensorsFile, RefusesWhatIsNotAFile) {
  const TemporaryFolder folder;
  expect_refused([&] { SafetensorsFile(folder.path() / "none.safetensors"); },
                 {"none.safetensors", "no such file"});
  expect_refused([&] { SafetensorsFile{folder.path()}; }, {"not a regular file"});
  expect_refused([&] { SafetensorsFile("/dev/zero"); }, {"not a regular file"});
}

TEST(WriteSafetensors, EveryDtypeComesBack) {
  const TemporaryFolder folder;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble, at::kLong, at::kInt,
                          at::kShort, at::kChar, at::kByte, at::kBool})
    tensors.emplace_back(std::string("t.") + at::toString(type),
                         at::arange(6).remainder(2).to(type).view({2, 3}).t());
  tensors.emplace_back("scalar", at::scalar_tensor(2.5));
  tensors.emplace_back("empty", at::empty({0, 4}));
  write_safetensors(folder.path() / "m.safetensors", tensors, {{"a", "b\"\n"}});
  const SafetensorsFile file(folder.path() / "m.safetensors");
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(file.tensor(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(file.tensor(name), tensor)) << name;
  }
  EXPECT_EQ(file.metadata().at("a"), "b\"\n");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}),
            1);  // no temporary file left
  EXPECT_THROW(
      write_safetensors(folder.path() / "n", {{"x", at::ones({1})}, {"x", at::ones({1})}}, {}),
      Error);
}

TEST(WriteSafetensors, AFullDiskLeavesTheOldFile) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "m.safetensors";
  write_safetensors(path, {{"a", at::ones({4})}}, {});
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{1 << 16, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  ErrorCode code = ErrorCode::internal;
  try {
    write_safetensors(path, {{"a", at::ones({1 << 20})}}, {});
  } catch (const Error& e) {
    code = e.code();
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(code, ErrorCode::disk_full);
  EXPECT_TRUE(at::equal(SafetensorsFile(path).tensor("a"), at::ones({4})));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace flashmorph
