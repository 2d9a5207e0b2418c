#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <jpeglib.h>
#include <png.h>
#include <stdlib.h>

#include "trainer/data/image.h"

/// Files that the tests of the data sets write for themselves.
namespace vitsim::testing {

/// A folder of its own for one test, removed with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "vitsim-data-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      throw std::runtime_error("mkdtemp failed");
    }
    path_ = name;
  }

  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  ~TemporaryFolder() { std::filesystem::remove_all(path_); }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_file(const std::filesystem::path& file, std::span<const std::uint8_t> bytes) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream stream(file, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
}

/// An image of one colour; `colour` has one value per channel.
inline Image plain_image(std::int64_t height,
                         std::int64_t width,
                         const std::vector<std::uint8_t>& colour) {
  Image image;
  image.reshape(height, width, static_cast<std::int64_t>(colour.size()));
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = colour[i % colour.size()];
  }
  return image;
}

/// The bytes of a JPEG file of quality 95; `channels` 1 is grey, 3 RGB, 4 CMYK inverted as Adobe
/// writes it.
inline std::vector<std::uint8_t> jpeg_bytes(const Image& image) {
  jpeg_compress_struct encoder{};
  jpeg_error_mgr errors{};
  encoder.err = jpeg_std_error(&errors);
  jpeg_create_compress(&encoder);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&encoder, &memory, &size);
  encoder.image_width = static_cast<JDIMENSION>(image.width);
  encoder.image_height = static_cast<JDIMENSION>(image.height);
  encoder.input_components = static_cast<int>(image.channels);
  encoder.in_color_space =
      image.channels == 1 ? JCS_GRAYSCALE : (image.channels == 3 ? JCS_RGB : JCS_CMYK);
  jpeg_set_defaults(&encoder);
  jpeg_set_quality(&encoder, 95, TRUE);
  jpeg_start_compress(&encoder, TRUE);
  while (encoder.next_scanline < encoder.image_height) {
    JSAMPROW row = const_cast<JSAMPROW>(image.row(encoder.next_scanline));
    jpeg_write_scanlines(&encoder, &row, 1);
  }
  jpeg_finish_compress(&encoder);
  std::vector<std::uint8_t> bytes(memory, memory + size);
  jpeg_destroy_compress(&encoder);
  std::free(memory);
  return bytes;
}

/// The bytes of a PNG file whose rows are given as the file wants them: `depth` bits per value,
/// 16-bit values with the high byte first.
inline std::vector<std::uint8_t> png_bytes(std::int64_t height,
                                           std::int64_t width,
                                           int colour_type,
                                           int depth,
                                           const std::vector<std::vector<std::uint8_t>>& rows,
                                           const std::vector<png_color>& palette = {},
                                           bool interlaced = false) {
  std::vector<std::uint8_t> bytes;
  png_structp encoder = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(encoder);
  png_set_write_fn(
      encoder,
      &bytes,
      [](png_structp target, png_bytep data, std::size_t size) {
        auto* out = static_cast<std::vector<std::uint8_t>*>(png_get_io_ptr(target));
        out->insert(out->end(), data, data + size);
      },
      nullptr);
  png_set_IHDR(encoder,
               info,
               static_cast<png_uint_32>(width),
               static_cast<png_uint_32>(height),
               depth,
               colour_type,
               interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  if (!palette.empty()) {
    png_set_PLTE(encoder, info, palette.data(), static_cast<int>(palette.size()));
  }
  png_write_info(encoder, info);
  std::vector<png_bytep> pointers;
  for (const auto& row : rows) {
    pointers.push_back(const_cast<png_bytep>(row.data()));
  }
  png_write_image(encoder, pointers.data());
  png_write_end(encoder, nullptr);
  png_destroy_write_struct(&encoder, &info);
  return bytes;
}

}  // namespace vitsim::testing
