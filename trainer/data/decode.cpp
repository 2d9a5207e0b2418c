#include "trainer/data/decode.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

#include <fmt/format.h>

#include "models/error.h"
#include "trainer/data/jpeg.h"
#include "trainer/data/png.h"

namespace vitsim {

void decode_image(std::span<const std::uint8_t> file, std::int64_t channels, Image& image) {
  VITSIM_CHECK(channels == 1 || channels == 3, ==, true);
  constexpr std::array<std::uint8_t, 3> kJpegStart = {0xff, 0xd8, 0xff};
  constexpr std::array<std::uint8_t, 8> kPngStart = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  const auto starts_with = [&](std::span<const std::uint8_t> start) {
    return file.size() >= start.size() && std::equal(start.begin(), start.end(), file.begin());
  };
  if (file.empty()) {
    throw UnreadableImage("the file is empty");
  }
  if (starts_with(kJpegStart)) {
    decode_jpeg(file, channels, image);
  } else if (starts_with(kPngStart)) {
    decode_png(file, channels, image);
  } else {
    throw UnreadableImage("neither a JPEG nor a PNG file");
  }
}

void decode_image_file(const std::filesystem::path& file,
                       std::int64_t channels,
                       std::vector<std::uint8_t>& buffer,
                       Image& image) {
  const auto close = [](std::FILE* stream) { std::fclose(stream); };
  const std::unique_ptr<std::FILE, decltype(close)> stream(std::fopen(file.c_str(), "rb"), close);
  if (!stream) {
    throw UnreadableImage(std::generic_category().message(errno));
  }
  // Sized by reading: asking for the size first would be one more trip to a network file system.
  std::size_t bytes = 0;
  buffer.resize(std::max<std::size_t>(buffer.capacity(), std::size_t{1} << 18U));
  while (true) {
    bytes += std::fread(buffer.data() + bytes, 1, buffer.size() - bytes, stream.get());
    if (bytes < buffer.size()) {
      break;
    }
    buffer.resize(2 * buffer.size());
  }
  if (std::ferror(stream.get()) != 0) {
    throw UnreadableImage(std::generic_category().message(errno));
  }
  decode_image(std::span(buffer).first(bytes), channels, image);
}

}  // namespace vitsim
