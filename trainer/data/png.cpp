// libpng reports errors by jumping out of C frames; see jpeg.cpp for the rules that follow.

#include "trainer/data/png.h"

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <string>
#include <vector>

#include <png.h>

#include "trainer/data/decode.h"
#include "trainer/data/jpeg.h"

namespace vitsim {

namespace {

struct PngFile {
  std::span<const std::uint8_t> left;
  char message[256] = {};
};

void read_bytes(png_structp decoder, png_bytep target, std::size_t count) {
  auto* file = static_cast<PngFile*>(png_get_io_ptr(decoder));
  if (count > file->left.size()) {
    png_error(decoder, "the file ends too early");
  }
  std::memcpy(target, file->left.data(), count);
  file->left = file->left.subspan(count);
}

[[noreturn]] void fail(png_structp decoder, png_const_charp message) {
  auto* file = static_cast<PngFile*>(png_get_error_ptr(decoder));
  std::strncpy(file->message, message, sizeof file->message - 1);
  png_longjmp(decoder, 1);
}

void ignore_warning(png_structp /*decoder*/, png_const_charp /*message*/) {}

// False where the library gave up; the reason is in the PngFile. `rows` lives with the caller, as
// nothing with a destructor may live here.
bool decode(png_structp decoder,
            png_infop info,
            std::int64_t channels,
            std::vector<png_bytep>& rows,
            Image& image) {
  // NOLINTNEXTLINE(cert-err52-cpp): the only way out that libpng offers.
  if (setjmp(png_jmpbuf(decoder)) != 0) {
    return false;
  }
  png_read_info(decoder, info);
  const std::int64_t width = png_get_image_width(decoder, info);
  const std::int64_t height = png_get_image_height(decoder, info);
  if (width * height > kMaximumPixels) {
    png_error(decoder, "too many pixels");
  }
  const int colour = png_get_color_type(decoder, info);
  png_set_scale_16(decoder);
  png_set_packing(decoder);
  if (colour == PNG_COLOR_TYPE_PALETTE) {
    png_set_palette_to_rgb(decoder);
  }
  if (colour == PNG_COLOR_TYPE_GRAY) {
    png_set_expand_gray_1_2_4_to_8(decoder);
  }
  png_set_strip_alpha(decoder);
  const bool coloured = (colour & PNG_COLOR_MASK_COLOR) != 0;
  if (channels == 3 && !coloured) {
    png_set_gray_to_rgb(decoder);
  }
  if (channels == 1 && coloured) {
    png_set_rgb_to_gray(decoder, PNG_ERROR_ACTION_NONE, 0.299, 0.587);
  }
  png_set_interlace_handling(decoder);
  png_read_update_info(decoder, info);
  if (png_get_rowbytes(decoder, info) != static_cast<std::size_t>(width * channels)) {
    png_error(decoder, "an unexpected pixel format");
  }
  image.reshape(height, width, channels);
  rows.resize(static_cast<std::size_t>(height));
  for (std::int64_t y = 0; y < height; ++y) {
    rows[static_cast<std::size_t>(y)] = image.row(y);
  }
  png_read_image(decoder, rows.data());
  png_read_end(decoder, nullptr);
  return true;
}

}  // namespace

void decode_png(std::span<const std::uint8_t> file, std::int64_t channels, Image& image) {
  PngFile source{.left = file};
  png_structp decoder =
      png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, fail, ignore_warning);
  png_infop info = decoder == nullptr ? nullptr : png_create_info_struct(decoder);
  if (info == nullptr) {
    png_destroy_read_struct(&decoder, nullptr, nullptr);
    throw std::bad_alloc();
  }
  png_set_read_fn(decoder, &source, read_bytes);
  std::vector<png_bytep> rows;
  const bool decoded = decode(decoder, info, channels, rows, image);
  png_destroy_read_struct(&decoder, &info, nullptr);
  if (!decoded) {
    throw UnreadableImage(source.message);
  }
}

}  // namespace vitsim
