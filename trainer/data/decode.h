#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <vector>

#include "trainer/data/image.h"

namespace vitsim {

/// An image file that cannot be decoded; the message says why, without the file's name.
class UnreadableImage : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Decodes a JPEG or PNG file, told apart by content, not by name, to 1 (grey) or 3 (RGB) channels.
/// Grey becomes RGB with equal channels, colour becomes grey by the weights of ITU-R 601, palettes
/// and CMYK become RGB, 16 bits become 8, transparency is dropped. EXIF orientation is not applied
/// (as torchvision and Pillow do unless asked). Throws UnreadableImage, also for files that end too
/// early and for images of more than 2^28 pixels.
void decode_image(std::span<const std::uint8_t> file, std::int64_t channels, Image& image);

/// The same for a file on disk, whose bytes are read into `buffer`.
void decode_image_file(const std::filesystem::path& file,
                       std::int64_t channels,
                       std::vector<std::uint8_t>& buffer,
                       Image& image);

}  // namespace vitsim
