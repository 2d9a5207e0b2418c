#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <istream>
#include <memory>
#include <streambuf>
#include <string>

namespace vitsim {

/// The bytes of a file, unpacked where it is gzip. Reads in a fixed buffer, so that the size of the
/// file does not matter. Throws UserError if the file cannot be opened or its gzip data is damaged;
/// gzip data that merely stops early ends the stream and sets `cut()`.
class FileBuffer : public std::streambuf {
 public:
  explicit FileBuffer(const std::filesystem::path& file);
  ~FileBuffer() override;
  FileBuffer(const FileBuffer&) = delete;
  FileBuffer& operator=(const FileBuffer&) = delete;

  [[nodiscard]] bool cut() const { return cut_; }

 protected:
  int_type underflow() override;

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
  std::string name_;
  std::array<char, 1 << 16> buffer_{};
  bool cut_ = false;
};

/// Lines of a stream in bounded memory. A byte-order mark at the start and the carriage return of
/// CRLF are dropped; carriage returns inside a line (progress bars) stay.
class LineReader {
 public:
  /// What a line holds beyond this is dropped: no file this project reads has such lines.
  static constexpr std::size_t kLongestLine = std::size_t{1} << 20;

  explicit LineReader(std::istream& stream) : stream_(stream) {}

  /// Reads the next line; false at the end.
  bool next(std::string& line);

  /// Number of the line that `next` gave, from 1.
  [[nodiscard]] std::int64_t number() const { return number_; }

  /// True if the line that `next` gave was ended by a newline: a file cut in the middle of a line
  /// ends with one that was not.
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  std::istream& stream_;
  std::int64_t number_ = 0;
  bool ended_ = false;
};

}  // namespace vitsim
