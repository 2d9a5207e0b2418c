// A tar file is a row of entries: a block of 512 bytes with name, size (octal digits) and kind,
// then the contents, filled up to whole blocks; a block of zeros ends it (POSIX.1-1988, "ustar").
// gzip wraps it, with a checksum that zlib tests.

#include "trainer/data/archive.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <memory>
#include <numeric>
#include <span>
#include <system_error>

#include <fmt/format.h>
#include <openssl/evp.h>
#include <zlib.h>

#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::int64_t kBlock = 512;
constexpr unsigned kReadAtOnce = 1U << 20U;

class GzipFile {
 public:
  explicit GzipFile(const std::filesystem::path& file)
      : name_(file.string()), stream_(gzopen(file.c_str(), "rb"), gzclose) {
    if (!stream_) {
      throw UserError(fmt::format("{}: {}", name_, std::generic_category().message(errno)));
    }
    gzbuffer(stream_.get(), kReadAtOnce);
  }

  /// Fills `bytes`; false at the end of the file. Throws where it ends in between.
  bool read(std::span<std::uint8_t> bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const auto chunk =
          static_cast<unsigned>(std::min<std::size_t>(bytes.size() - done, kReadAtOnce));
      const int count = gzread(stream_.get(), bytes.data() + done, chunk);
      if (count < 0) {
        int code = 0;
        const char* why = gzerror(stream_.get(), &code);
        throw UserError(fmt::format("{}: cannot be unpacked: {}", name_, why));
      }
      if (count == 0) {
        if (done == 0) {
          return false;
        }
        throw UserError(fmt::format("{}: cannot be unpacked: it ends too early", name_));
      }
      done += static_cast<std::size_t>(count);
    }
    return true;
  }

 private:
  std::string name_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> stream_;
};

std::string_view text_field(std::span<const std::uint8_t> field) {
  const auto* begin = reinterpret_cast<const char*>(field.data());
  return {begin, static_cast<std::size_t>(std::ranges::find(field, 0) - field.begin())};
}

// Octal digits after spaces, ended by a space or a zero.
std::int64_t octal_field(std::span<const std::uint8_t> field) {
  std::int64_t value = 0;
  bool begun = false;
  for (const std::uint8_t digit : field) {
    if (digit < '0' || digit > '7') {
      if (begun) {
        break;
      }
      continue;
    }
    begun = true;
    value = 8 * value + (digit - '0');
  }
  return value;
}

// The sum of the header's bytes, its own field at 148 taken as eight spaces.
std::int64_t header_sum(std::span<const std::uint8_t> header) {
  return std::accumulate(header.begin(), header.begin() + 148, std::int64_t{8} * ' ') +
         std::accumulate(header.begin() + 156, header.end(), std::int64_t{0});
}

}  // namespace

std::string md5_of_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw UserError(fmt::format("{}: {}", file.string(), std::generic_category().message(errno)));
  }
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> digest(EVP_MD_CTX_new(),
                                                                  EVP_MD_CTX_free);
  std::array<unsigned char, EVP_MAX_MD_SIZE> sum{};
  unsigned length = 0;
  bool good = digest && EVP_DigestInit_ex(digest.get(), EVP_md5(), nullptr) == 1;
  std::vector<char> buffer(kReadAtOnce);
  while (good && stream) {
    stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    good = EVP_DigestUpdate(
               digest.get(), buffer.data(), static_cast<std::size_t>(stream.gcount())) == 1;
  }
  good = good && EVP_DigestFinal_ex(digest.get(), sum.data(), &length) == 1;
  if (!good || stream.bad()) {
    throw UserError(fmt::format("{}: its MD5 checksum cannot be computed", file.string()));
  }
  std::string hex;
  for (unsigned i = 0; i < length; ++i) {
    hex += fmt::format("{:02x}", sum[i]);
  }
  return hex;
}

void unpack_archive(
    const std::filesystem::path& file,
    const std::function<bool(std::string_view name, std::int64_t bytes)>& wanted,
    const std::function<void(std::string_view name, const std::vector<std::uint8_t>&)>& found) {
  GzipFile archive(file);
  std::array<std::uint8_t, kBlock> header{};
  std::vector<std::uint8_t> contents;
  while (archive.read(header)) {
    const std::span<const std::uint8_t> fields(header);
    if (header[0] == 0) {
      continue;  // the end, or filling after it
    }
    if (octal_field(fields.subspan(148, 8)) != header_sum(fields)) {
      throw UserError(fmt::format("{}: is no tar archive", file.string()));
    }
    const std::string name =
        std::filesystem::path(text_field(fields.first(100))).filename().string();
    const std::int64_t bytes = octal_field(fields.subspan(124, 12));
    const bool regular = header[156] == '0' || header[156] == 0;
    const std::int64_t stored = (bytes + kBlock - 1) / kBlock * kBlock;
    if (regular && wanted(name, bytes)) {
      contents.resize(static_cast<std::size_t>(stored));
      if (stored > 0 && !archive.read(contents)) {
        throw UserError(fmt::format("{}: cannot be unpacked: it ends too early", file.string()));
      }
      contents.resize(static_cast<std::size_t>(bytes));
      found(name, contents);
      continue;
    }
    std::array<std::uint8_t, kBlock> skipped{};
    for (std::int64_t done = 0; done < stored; done += kBlock) {
      if (!archive.read(skipped)) {
        throw UserError(fmt::format("{}: cannot be unpacked: it ends too early", file.string()));
      }
    }
  }
}

}  // namespace vitsim
