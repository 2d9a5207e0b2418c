#pragma once

#include <cstdint>
#include <span>

#include "trainer/data/image.h"

namespace vitsim {

/// decode_image for a PNG file (libpng).
void decode_png(std::span<const std::uint8_t> file, std::int64_t channels, Image& image);

}  // namespace vitsim
