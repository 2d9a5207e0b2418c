#include "models/document/atomic_file.h"

#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::size_t kBufferBytes = 1 << 16;

// A folder's entry for a renamed file survives a power cut only once the folder itself is flushed.
// File systems that cannot do that say so with EINVAL, which is no failure of ours.
void flush_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path target) : target_(std::move(target)) {
  if (target_ == "-") {
    target_ = "standard output";
    descriptor_ = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    if (descriptor_ < 0) {
      fail("cannot be written");
    }
    return;
  }
  std::error_code error;
  // A link is kept: what it points to is replaced.
  if (std::filesystem::is_symlink(target_, error)) {
    if (auto real = std::filesystem::canonical(target_, error); !error) {
      target_ = std::move(real);
    }
  }
  const auto status = std::filesystem::status(target_, error);
  if (std::filesystem::is_directory(status)) {
    errno = EISDIR;
    fail("cannot be written");
  }
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    descriptor_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor_ < 0) {
      fail("cannot be opened");
    }
    return;
  }
  static std::atomic<unsigned> count{0};
  temporary_ =
      target_.parent_path() /
      fmt::format(".{}.{}-{}.tmp", target_.filename().string(), ::getpid(), count.fetch_add(1));
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    temporary_.clear();
    fail("cannot be created");
  }
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::write(std::string_view text) {
  buffer_.append(text);
  if (buffer_.size() >= kBufferBytes) {
    flush();
  }
}

void AtomicFile::commit() {
  flush();
  if (!temporary_.empty() && ::fsync(descriptor_) != 0) {
    fail("cannot be written to the disk");
  }
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    fail("cannot be closed");
  }
  if (temporary_.empty()) {
    return;
  }
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    fail("cannot be renamed into place");
  }
  temporary_.clear();
  const auto folder = target_.parent_path();
  flush_folder(folder.empty() ? "." : folder);
}

void AtomicFile::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0) {
      fail("cannot be written");
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  buffer_.clear();
}

void AtomicFile::discard() {
  if (descriptor_ >= 0) {
    ::close(std::exchange(descriptor_, -1));
  }
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
    temporary_.clear();
  }
}

void AtomicFile::fail(std::string_view what) {
  const std::string reason = std::generic_category().message(errno);
  discard();
  throw DeviceError(fmt::format("{}: {}: {}", target_.string(), what, reason));
}

void write_file_atomically(const std::filesystem::path& target, std::string_view text) {
  AtomicFile file(target);
  file.write(text);
  file.commit();
}

}  // namespace vitsim
