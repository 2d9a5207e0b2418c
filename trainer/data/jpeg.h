#pragma once

#include <cstdint>
#include <span>

#include "trainer/data/image.h"

namespace vitsim {

inline constexpr std::int64_t kMaximumPixels = std::int64_t{1} << 28U;

/// decode_image for a JPEG file (libjpeg).
void decode_jpeg(std::span<const std::uint8_t> file, std::int64_t channels, Image& image);

}  // namespace vitsim
