// libjpeg reports errors through a callback that must not return. It may not throw either: the
// library's C frames need not unwind. So the callback jumps back, and nothing with a destructor
// lives in the frames that the jump leaves.

#include "trainer/data/jpeg.h"

#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it and does not include it

#include <jerror.h>
#include <jpeglib.h>

#include "trainer/data/decode.h"

namespace vitsim {

namespace {

struct JpegErrors {
  jpeg_error_mgr manager;  // first: libjpeg hands back a pointer to it
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void fail(j_common_ptr decoder) {
  auto* errors = reinterpret_cast<JpegErrors*>(decoder->err);
  errors->manager.format_message(decoder, errors->message);
  std::longjmp(errors->jump, 1);
}

// libjpeg fills what is missing with grey and only warns. Data that is short or undecodable makes
// the image unreadable here; oddities that cost no pixels, such as stray bytes, pass.
void note(j_common_ptr decoder, int level) {
  if (level >= 0) {
    return;
  }
  switch (decoder->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
      fail(decoder);
    default:
      break;
  }
}

// CMYK as Adobe writes it, inverted: 255 is no ink.
void cmyk_to_channels(const JSAMPLE* cmyk,
                      std::int64_t width,
                      bool inverted,
                      std::int64_t channels,
                      std::uint8_t* out) {
  for (std::int64_t x = 0; x < width; ++x, cmyk += 4) {
    int rgb[3];
    for (int i = 0; i < 3; ++i) {
      const int ink_free = inverted ? cmyk[i] : 255 - cmyk[i];
      const int black_free = inverted ? cmyk[3] : 255 - cmyk[3];
      rgb[i] = (ink_free * black_free + 127) / 255;
    }
    if (channels == 3) {
      for (const int value : rgb) {
        *out++ = static_cast<std::uint8_t>(value);
      }
    } else {
      *out++ = static_cast<std::uint8_t>((299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2] + 500) / 1000);
    }
  }
}

// False where the library gave up; the reason is in errors.message.
bool decode(jpeg_decompress_struct& decoder,
            JpegErrors& errors,
            std::span<const std::uint8_t> file,
            std::int64_t channels,
            Image& image) {
  // NOLINTNEXTLINE(cert-err52-cpp): the only way out that libjpeg offers.
  if (setjmp(errors.jump) != 0) {
    return false;
  }
  jpeg_create_decompress(&decoder);
  jpeg_mem_src(&decoder, file.data(), file.size());
  jpeg_read_header(&decoder, TRUE);
  const bool cmyk = decoder.num_components == 4;
  const J_COLOR_SPACE target = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  decoder.out_color_space = cmyk ? JCS_CMYK : target;
  if (static_cast<std::int64_t>(decoder.image_width) * decoder.image_height > kMaximumPixels) {
    ERREXIT1(&decoder, JERR_IMAGE_TOO_BIG, static_cast<int>(kMaximumPixels));
  }
  jpeg_start_decompress(&decoder);
  image.reshape(decoder.output_height, decoder.output_width, channels);
  JSAMPARRAY cmyk_row = nullptr;
  if (cmyk) {
    cmyk_row = (*decoder.mem->alloc_sarray)(
        reinterpret_cast<j_common_ptr>(&decoder), JPOOL_IMAGE, 4 * decoder.output_width, 1);
  }
  while (decoder.output_scanline < decoder.output_height) {
    JSAMPROW row = image.row(decoder.output_scanline);
    if (cmyk) {
      jpeg_read_scanlines(&decoder, cmyk_row, 1);
      cmyk_to_channels(cmyk_row[0], image.width, decoder.saw_Adobe_marker != 0, channels, row);
    } else {
      jpeg_read_scanlines(&decoder, &row, 1);
    }
  }
  jpeg_finish_decompress(&decoder);
  return true;
}

}  // namespace

void decode_jpeg(std::span<const std::uint8_t> file, std::int64_t channels, Image& image) {
  jpeg_decompress_struct decoder{};
  JpegErrors errors{};
  decoder.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = fail;
  errors.manager.emit_message = note;
  const bool decoded = decode(decoder, errors, file, channels, image);
  jpeg_destroy_decompress(&decoder);
  if (!decoded) {
    throw UnreadableImage(errors.message);
  }
}

}  // namespace vitsim
