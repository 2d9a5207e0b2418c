#include "calibrate/import/text_source.h"

#include <fmt/format.h>
#include <zlib.h>

#include "models/error.h"

namespace vitsim {

struct FileBuffer::Handle {
  gzFile file = nullptr;

  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  ~Handle() {
    if (file != nullptr) {
      gzclose(file);
    }
  }
};

FileBuffer::FileBuffer(const std::filesystem::path& file)
    : handle_(std::make_unique<Handle>()), name_(file.string()) {
  // gzopen passes files through that are not gzip.
  handle_->file = gzopen(name_.c_str(), "rb");
  if (handle_->file == nullptr) {
    throw UserError(fmt::format("{}: cannot be read", name_));
  }
}

FileBuffer::~FileBuffer() = default;

FileBuffer::int_type FileBuffer::underflow() {
  const int got = gzread(handle_->file, buffer_.data(), buffer_.size());
  if (got < 0) {
    int code = Z_OK;
    const char* reason = gzerror(handle_->file, &code);
    if (code != Z_BUF_ERROR) {
      throw UserError(fmt::format("{}: damaged or unreadable: {}", name_, reason));
    }
    cut_ = true;
  } else if (got == 0) {
    int code = Z_OK;
    gzerror(handle_->file, &code);
    cut_ = code == Z_BUF_ERROR;
  }
  if (got <= 0) {
    return traits_type::eof();
  }
  setg(buffer_.data(), buffer_.data(), buffer_.data() + got);
  return traits_type::to_int_type(*gptr());
}

bool LineReader::next(std::string& line) {
  line.clear();
  std::streambuf& bytes = *stream_.rdbuf();
  constexpr auto kEnd = std::char_traits<char>::eof();
  auto byte = bytes.sbumpc();
  if (byte == kEnd) {
    return false;
  }
  for (; byte != kEnd && byte != '\n'; byte = bytes.sbumpc()) {
    if (line.size() < kLongestLine) {
      line.push_back(static_cast<char>(byte));
    }
  }
  ended_ = byte == '\n';
  ++number_;
  if (number_ == 1 && line.starts_with("\xEF\xBB\xBF")) {
    line.erase(0, 3);
  }
  if (line.ends_with('\r')) {
    line.pop_back();
  }
  return true;
}

}  // namespace vitsim
