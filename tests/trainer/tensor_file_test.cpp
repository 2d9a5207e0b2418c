#include "trainer/tensor_file.h"

#include <filesystem>
#include <fstream>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TensorFiles : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }

  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::filesystem::path file() const { return folder_ / "some.safetensors"; }

  void write_raw(const std::string& header, std::uint64_t length, const std::string& data) const {
    std::ofstream output(file(), std::ios::binary);
    output.write(reinterpret_cast<const char*>(&length), sizeof(length));
    output << header << data;
  }

  std::string refusal() const {
    try {
      const TensorFile opened(file());
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  }

 private:
  // Each test is a process of its own, and several run at once.
  std::filesystem::path folder_ = std::filesystem::path(::testing::TempDir()) /
                                  ("vitsim-tensor-file-test-" + std::to_string(getpid()));
};

TEST_F(TensorFiles, ReturnWhatWasWritten) {
  const at::Tensor a = at::arange(6, at::kFloat).view({2, 3}).t();  // not contiguous
  const at::Tensor b = at::full({}, 1.5, at::kBFloat16);
  const at::Tensor c = at::empty({0, 4}, at::kLong);
  write_tensors(file(), {{"a", a}, {"b/c/0", b}, {"empty", c}});
  const TensorFile opened(file());
  EXPECT_THAT(opened.names(), ElementsAre("a", "b/c/0", "empty"));
  EXPECT_TRUE(opened.read("a").equal(a));
  EXPECT_TRUE(opened.read("b/c/0").equal(b));
  EXPECT_EQ(opened.read("empty").sizes(), c.sizes());
  EXPECT_THROW((void)opened.read("d"), UserError);
}

TEST_F(TensorFiles, ReadAFileAsPythonsLibraryWritesIt) {
  // Header of 64 bytes, then two floats: 1 and -2.
  std::string header = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  header.resize(64, ' ');
  const std::array<float, 2> values = {1, -2};
  write_raw(header, 64, {reinterpret_cast<const char*>(values.data()), sizeof(values)});
  EXPECT_TRUE(TensorFile(file()).read("x").equal(at::tensor({1.0F, -2.0F})));
}

TEST_F(TensorFiles, RefuseWhatIsCutOrDamaged) {
  EXPECT_THAT(refusal(), HasSubstr("cannot be read"));
  write_raw("", 1'000, "");
  EXPECT_THAT(refusal(), HasSubstr("is cut or not a tensor file"));
  write_raw("{nonsense", 9, "");
  EXPECT_THAT(refusal(), HasSubstr("is damaged"));
  const std::string header = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  write_raw(header, header.size(), "1234567");
  EXPECT_THAT(refusal(), HasSubstr("is cut: it ends before its last tensor"));
  const std::string huge =
      R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})";
  write_raw(huge, huge.size(), "");
  EXPECT_THAT(refusal(), HasSubstr("impossible shape"));
}

}  // namespace
}  // namespace vitsim
