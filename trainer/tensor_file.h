#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace vitsim {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

/// Writes tensors in the safetensors format, which Python reads too: the length of a header, a JSON
/// header with type, shape and place of each tensor, then their bytes. The file appears whole or
/// not at all. Throws DeviceError with the system's reason.
void write_tensors(const std::filesystem::path& file, const std::vector<NamedTensor>& tensors);

/// A file that `write_tensors` or Python's safetensors wrote.
class TensorFile {
 public:
  /// Reads the header. Throws UserError where the file is missing, cut or something else.
  explicit TensorFile(std::filesystem::path file);

  [[nodiscard]] std::vector<std::string> names() const;

  [[nodiscard]] bool has(const std::string& name) const { return entries_.contains(name); }

  /// On the CPU. Throws UserError where there is no such tensor.
  [[nodiscard]] at::Tensor read(const std::string& name) const;

 private:
  struct Entry {
    at::ScalarType type = at::kFloat;
    std::vector<std::int64_t> shape;
    std::int64_t begin = 0;  // from the start of the file
    std::int64_t bytes = 0;
  };

  std::filesystem::path path_;
  std::map<std::string, Entry> entries_;
};

}  // namespace vitsim
