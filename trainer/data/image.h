#pragma once

#include <cstdint>
#include <vector>

namespace vitsim {

/// A decoded picture: 8 bits per value, rows from the top, the channels of one pixel side by side
/// (height x width x channels), red first.
struct Image {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
  std::vector<std::uint8_t> pixels;

  /// Sets the shape and makes room; keeps memory that is already there. Values are unspecified.
  void reshape(std::int64_t new_height, std::int64_t new_width, std::int64_t new_channels) {
    height = new_height;
    width = new_width;
    channels = new_channels;
    pixels.resize(static_cast<std::size_t>(height * width * channels));
  }

  [[nodiscard]] const std::uint8_t* row(std::int64_t y) const {
    return pixels.data() + y * width * channels;
  }

  [[nodiscard]] std::uint8_t* row(std::int64_t y) { return pixels.data() + y * width * channels; }
};

}  // namespace vitsim
