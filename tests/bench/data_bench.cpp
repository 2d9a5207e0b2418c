// Images per second of one loader thread: what a GPU of a given speed needs threads for.

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include <benchmark/benchmark.h>

#include "models/experiment/training.h"
#include "tests/trainer_data/files.h"
#include "trainer/data/cifar.h"
#include "trainer/data/decode.h"
#include "trainer/data/image_folder.h"
#include "trainer/data/sample_reader.h"
#include "trainer/data/synthetic.h"

namespace vitsim {
namespace {

constexpr std::int64_t kSide = 224;
constexpr std::size_t kValues = 3 * kSide * kSide;

// A photograph's stand-in: smooth shades with some grain, which compresses about as photographs do.
Image photograph(std::int64_t height, std::int64_t width) {
  Image image;
  image.reshape(height, width, 3);
  std::uint32_t state = 1;
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (std::int64_t channel = 0; channel < 3; ++channel) {
        state = state * 1664525U + 1013904223U;
        const std::int64_t shade = 40 + (x * (channel + 1) * 3 + y * 5) % 170;
        image.row(y)[3 * x + channel] =
            static_cast<std::uint8_t>(shade + static_cast<std::int64_t>(state >> 28U));
      }
    }
  }
  return image;
}

// Reads samples until the benchmark ends. The answer is checked first: a picture that is not all
// one level.
void read_samples(benchmark::State& state, const Dataset& dataset) {
  TrainingSpec training;
  training.augment = {.flip = true, .crop = true};
  SampleReader reader(dataset, training, 0);
  std::vector<std::uint8_t> images(kValues);
  std::array<std::int64_t, 1> label{};
  std::array<std::int64_t, 1> index{};
  const auto read = [&] { reader.read(index, images, label, std::stop_token()); };
  read();
  const auto [least, most] = std::ranges::minmax_element(images);
  if (*least == *most) {
    state.SkipWithError("the sample is not a picture");
    return;
  }
  for (auto _ : state) {
    read();
    index[0] = (index[0] + 1) % dataset.size();
    benchmark::DoNotOptimize(images.data());
  }
  state.SetItemsProcessed(state.iterations());
}

void cifar_to_224(benchmark::State& state) {
  const testing::TemporaryFolder folder;
  CifarFormat format = cifar10_format();
  format.records_per_train_file = 100;
  std::vector<std::uint8_t> records;
  const Image image = photograph(32, 32 * 100);
  for (std::int64_t record = 0; record < 100; ++record) {
    records.push_back(static_cast<std::uint8_t>(record % 10));
    records.insert(records.end(),
                   image.pixels.begin() + record * 3072,
                   image.pixels.begin() + (record + 1) * 3072);
  }
  for (const std::string_view file : format.train_files) {
    testing::write_file(folder.path() / file, records);
  }
  read_samples(state, CifarDataset(format, folder.path(), Split::kTrain));
}

void jpeg_500x375_to_224(benchmark::State& state) {
  const testing::TemporaryFolder folder;
  const std::vector<std::uint8_t> file = testing::jpeg_bytes(photograph(375, 500));
  for (const char* name : {"a.jpg", "b.jpg", "c.jpg"}) {
    testing::write_file(folder.path() / "only" / name, file);
  }
  state.counters["file_bytes"] = static_cast<double>(file.size());
  read_samples(state, ImageFolderDataset(folder.path(), Split::kTrain, 3, OnUnreadable::kStop));
}

void synthetic_224(benchmark::State& state) {
  read_samples(
      state,
      SyntheticDataset({.samples = 1000, .classes = 10, .image_size = kSide}, 1, Split::kTrain));
}

// The parts of a photograph's way.
void decode_jpeg_500x375(benchmark::State& state) {
  const std::vector<std::uint8_t> file = testing::jpeg_bytes(photograph(375, 500));
  Image image;
  for (auto _ : state) {
    decode_image(file, 3, image);
    benchmark::DoNotOptimize(image.pixels.data());
  }
  state.SetItemsProcessed(state.iterations());
}

void resize_to_224(benchmark::State& state) {
  const Image image = photograph(state.range(0), state.range(1));
  ImageTransform transform(kSide);
  std::vector<std::uint8_t> out(kValues);
  for (auto _ : state) {
    transform.apply(image, {}, out);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(cifar_to_224)->Unit(benchmark::kMicrosecond);
BENCHMARK(jpeg_500x375_to_224)->Unit(benchmark::kMicrosecond);
BENCHMARK(synthetic_224)->Unit(benchmark::kMicrosecond);
BENCHMARK(decode_jpeg_500x375)->Unit(benchmark::kMicrosecond);
BENCHMARK(resize_to_224)->Args({32, 32})->Args({375, 500})->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vitsim

BENCHMARK_MAIN();
