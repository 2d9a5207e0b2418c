#include "trainer/data/decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer_data/files.h"

namespace vitsim {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::jpeg_bytes;
using testing::plain_image;
using testing::png_bytes;

using Bytes = std::vector<std::uint8_t>;

Image decoded(const Bytes& file, std::int64_t channels) {
  Image image;
  decode_image(file, channels, image);
  return image;
}

std::string refusal(const Bytes& file) {
  try {
    decoded(file, 3);
  } catch (const UnreadableImage& error) {
    return error.what();
  }
  return "decoded";
}

// Each pixel of `image` is `colour`, give or take `tolerance`.
void expect_colour(const Image& image, const std::vector<int>& colour, int tolerance) {
  ASSERT_EQ(image.channels, static_cast<std::int64_t>(colour.size()));
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    ASSERT_NEAR(image.pixels[i], colour[i % colour.size()], tolerance) << "value " << i;
  }
}

TEST(DecodeJpeg, KeepsShapeAndColour) {
  const Image image = decoded(jpeg_bytes(plain_image(13, 21, {200, 60, 30})), 3);
  EXPECT_EQ(image.height, 13);
  EXPECT_EQ(image.width, 21);
  expect_colour(image, {200, 60, 30}, 3);
}

TEST(DecodeJpeg, KeepsTheRowsAndColumnsInPlace) {
  // Left half black, right half white, in blocks of 8 so that coding keeps the edge.
  Image image = plain_image(16, 32, {0, 0, 0});
  for (std::int64_t y = 0; y < 16; ++y) {
    std::fill(image.row(y) + 3 * 16, image.row(y) + 3 * 32, std::uint8_t{255});
  }
  const Image back = decoded(jpeg_bytes(image), 3);
  EXPECT_LT(back.row(5)[3 * 7], 5);
  EXPECT_GT(back.row(5)[3 * 24], 250);
}

TEST(DecodeJpeg, MakesColourOfGreyAndGreyOfColour) {
  expect_colour(decoded(jpeg_bytes(plain_image(9, 9, {90})), 3), {90, 90, 90}, 2);
  expect_colour(decoded(jpeg_bytes(plain_image(9, 9, {90})), 1), {90}, 2);
  // 0.299 * 200 + 0.587 * 60 + 0.114 * 30 = 98.4
  expect_colour(decoded(jpeg_bytes(plain_image(9, 9, {200, 60, 30})), 1), {98}, 3);
}

TEST(DecodeJpeg, MakesColourOfInvertedCmyk) {
  // libjpeg writes the Adobe marker with CMYK, which means inverted: (255, 128, 0, 255) lets all
  // red, half of green, no blue through, and has no black ink. With black at 128: half of each.
  expect_colour(decoded(jpeg_bytes(plain_image(8, 8, {255, 128, 0, 255})), 3), {255, 128, 0}, 3);
  expect_colour(decoded(jpeg_bytes(plain_image(8, 8, {255, 128, 0, 128})), 3), {128, 64, 0}, 3);
  // 0.299 * 255 + 0.587 * 128 = 151.4
  expect_colour(decoded(jpeg_bytes(plain_image(8, 8, {255, 128, 0, 255})), 1), {151}, 3);
}

TEST(DecodeJpeg, RefusesAFileThatEndsEarly) {
  Image noisy = plain_image(64, 64, {0, 0, 0});
  std::uint32_t state = 1;
  for (std::uint8_t& level : noisy.pixels) {
    state = state * 1664525U + 1013904223U;
    level = static_cast<std::uint8_t>(state >> 24U);
  }
  Bytes file = jpeg_bytes(noisy);
  for (const std::size_t percent : {1U, 10U, 50U, 99U}) {
    const Bytes start(file.begin(),
                      file.begin() + static_cast<std::ptrdiff_t>(file.size() * percent / 100));
    EXPECT_NE(refusal(start), "decoded") << percent << " % of the file";
  }
  EXPECT_EQ(refusal(file), "decoded");
}

TEST(DecodeJpeg, SurvivesAnyDamagedByte) {
  // Damage may pass unseen, but must neither crash nor change the shape that was promised.
  const Bytes file = jpeg_bytes(plain_image(24, 24, {200, 60, 30}));
  for (std::size_t i = 0; i < file.size(); ++i) {
    Bytes damaged = file;
    damaged[i] ^= 0x5a;
    Image image;
    try {
      decode_image(damaged, 3, image);
      EXPECT_EQ(image.pixels.size(), static_cast<std::size_t>(image.height * image.width * 3));
    } catch (const UnreadableImage&) {
    }
  }
}

TEST(DecodePng, KeepsEveryValue) {
  const Bytes row0 = {1, 2, 3, 4, 5, 6};
  const Bytes row1 = {250, 251, 252, 253, 254, 255};
  for (const bool interlaced : {false, true}) {
    const Image image =
        decoded(png_bytes(2, 2, PNG_COLOR_TYPE_RGB, 8, {row0, row1}, {}, interlaced), 3);
    EXPECT_THAT(image.pixels, ElementsAre(1, 2, 3, 4, 5, 6, 250, 251, 252, 253, 254, 255));
  }
}

TEST(DecodePng, DropsTransparency) {
  const Image colour =
      decoded(png_bytes(1, 2, PNG_COLOR_TYPE_RGBA, 8, {{10, 20, 30, 0, 40, 50, 60, 255}}), 3);
  EXPECT_THAT(colour.pixels, ElementsAre(10, 20, 30, 40, 50, 60));
  const Image grey = decoded(png_bytes(1, 2, PNG_COLOR_TYPE_GRAY_ALPHA, 8, {{10, 0, 20, 255}}), 3);
  EXPECT_THAT(grey.pixels, ElementsAre(10, 10, 10, 20, 20, 20));
}

TEST(DecodePng, TakesTheHighEightOfSixteenBits) {
  // 0x8000 / 257 = 127.5, 0xffff / 257 = 255, 0x0101 / 257 = 1, 0x0080 / 257 = 0.498.
  const Image image = decoded(
      png_bytes(1, 4, PNG_COLOR_TYPE_GRAY, 16, {{0x80, 0x80, 0xff, 0xff, 0x01, 0x01, 0x00, 0x80}}),
      1);
  EXPECT_THAT(image.pixels, ElementsAre(128, 255, 1, 0));
}

TEST(DecodePng, SpreadsFewBitsOverTheScale) {
  // 0b01'00'11'10: 1/3, 0, 1 and 2/3 of 255.
  const Image two = decoded(png_bytes(1, 4, PNG_COLOR_TYPE_GRAY, 2, {{0b01001110}}), 1);
  EXPECT_THAT(two.pixels, ElementsAre(85, 0, 255, 170));
  const Image one = decoded(png_bytes(1, 3, PNG_COLOR_TYPE_GRAY, 1, {{0b10100000}}), 3);
  EXPECT_THAT(one.pixels, ElementsAre(255, 255, 255, 0, 0, 0, 255, 255, 255));
}

TEST(DecodePng, LooksPalettesUp) {
  const std::vector<png_color> palette = {{1, 2, 3}, {100, 110, 120}};
  EXPECT_THAT(decoded(png_bytes(1, 2, PNG_COLOR_TYPE_PALETTE, 8, {{1, 0}}, palette), 3).pixels,
              ElementsAre(100, 110, 120, 1, 2, 3));
}

TEST(DecodePng, MakesGreyOfColour) {
  // 0.299 * 200 + 0.587 * 60 + 0.114 * 30 = 98.4
  const Image image = decoded(png_bytes(1, 1, PNG_COLOR_TYPE_RGB, 8, {{200, 60, 30}}), 1);
  ASSERT_EQ(image.pixels.size(), 1U);
  EXPECT_NEAR(image.pixels[0], 98, 1);
}

TEST(DecodePng, RefusesShortAndDamagedFiles) {
  const Bytes file =
      png_bytes(2, 2, PNG_COLOR_TYPE_RGB, 8, {{1, 2, 3, 4, 5, 6}, {1, 2, 3, 4, 5, 6}});
  for (std::size_t size = 0; size < file.size() - 12; ++size) {
    EXPECT_NE(refusal(Bytes(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size))),
              "decoded")
        << size << " of " << file.size() << " bytes";
  }
  // Bytes 33 to 40 are length and name of the data chunk, then come the data with their checksum.
  Bytes damaged = file;
  damaged[43] ^= 0xff;
  EXPECT_NE(refusal(damaged), "decoded");
}

TEST(DecodeImage, GoesByContent) {
  EXPECT_THAT(refusal({}), HasSubstr("empty"));
  EXPECT_THAT(refusal({'G', 'I', 'F', '8', '9', 'a'}), HasSubstr("neither a JPEG nor a PNG"));
}

TEST(DecodeImageFile, ReadsFilesOfAnySizeIntoTheSameMemory) {
  const testing::TemporaryFolder folder;
  Image noisy = plain_image(700, 900, {0, 0, 0});  // well over the first 256 KiB that are read
  std::uint32_t state = 1;
  for (std::uint8_t& level : noisy.pixels) {
    state = state * 1664525U + 1013904223U;
    level = static_cast<std::uint8_t>(state >> 24U);
  }
  const Bytes large = jpeg_bytes(noisy);
  ASSERT_GT(large.size(), std::size_t{1} << 19U);
  testing::write_file(folder.path() / "large.jpg", large);
  testing::write_file(folder.path() / "small.jpg", jpeg_bytes(plain_image(3, 4, {9, 9, 9})));

  Bytes buffer;
  Image image;
  decode_image_file(folder.path() / "large.jpg", 3, buffer, image);
  EXPECT_EQ(image.pixels, decoded(large, 3).pixels);
  decode_image_file(folder.path() / "small.jpg", 3, buffer, image);
  EXPECT_EQ(image.pixels.size(), 36U);
  EXPECT_THROW(decode_image_file(folder.path() / "none.jpg", 3, buffer, image), UnreadableImage);
}

}  // namespace
}  // namespace vitsim
