#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace vitsim {

/// A file that appears whole or not at all: written under a temporary name in the same folder,
/// flushed to the disk and renamed by `commit`. Without `commit` nothing is left behind. A target
/// that is a device or a pipe is written directly, and so is standard output, "-". Everything
/// throws DeviceError with the path and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view text);
  void commit();

 private:
  void flush();
  void discard();
  [[noreturn]] void fail(std::string_view what);

  std::filesystem::path target_;
  std::filesystem::path temporary_;  // empty where the target is written directly
  std::string buffer_;
  int descriptor_ = -1;
};

/// Writes `text` as the whole content of `target`.
void write_file_atomically(const std::filesystem::path& target, std::string_view text);

}  // namespace vitsim
