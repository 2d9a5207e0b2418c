#include "calibrate/import/piece.h"

#include <algorithm>
#include <cctype>

namespace vitsim {

namespace {

template <typename T>
void fill(std::optional<T>& mine, const std::optional<T>& other) {
  if (!mine) {
    mine = other;
  }
}

template <typename T>
void fill(std::vector<T>& mine, const std::vector<T>& other) {
  if (mine.empty()) {
    mine = other;
  }
}

}  // namespace

void RunFacts::complete_with(const RunFacts& other) {
  fill(cluster, other.cluster);
  fill(one_node, other.one_node);
  fill(link, other.link);
  fill(world_size, other.world_size);
  fill(gpus, other.gpus);
  fill(model, other.model);
  fill(parameters, other.parameters);
  // What a file states outweighs what another only lets guess.
  if (!precision || (precision_inferred && other.precision && !other.precision_inferred)) {
    precision = other.precision;
    precision_inferred = other.precision_inferred;
  }
  fill(optimizer, other.optimizer);
  fill(gradient_sync, other.gradient_sync);
  fill(micro_batch, other.micro_batch);
  fill(accumulation, other.accumulation);
  fill(epochs, other.epochs);
  fill(samples, other.samples);
  fill(wall_clock_breakdown, other.wall_clock_breakdown);
}

std::string gpu_slug(std::string_view device) {
  std::string words;
  for (const char c : device) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '.') {
      words.push_back(static_cast<char>(std::tolower(byte)));
    } else if (!words.empty() && words.back() != '-') {
      words.push_back('-');
    }
  }
  while (words.ends_with('-')) {
    words.pop_back();
  }
  for (const std::string_view maker : {"nvidia-", "geforce-"}) {
    if (words.starts_with(maker)) {
      words.erase(0, maker.size());
    }
  }
  return words;
}

Sample rank_sample(std::string what,
                   std::int64_t rank,
                   std::vector<double> seconds,
                   std::int64_t accumulation) {
  Sample sample{.what = std::move(what), .seconds = std::move(seconds)};
  sample.number["rank"] = static_cast<double>(rank);
  sample.warm_up = std::min(kWarmUpSteps * accumulation, std::ssize(sample.seconds));
  return sample;
}

}  // namespace vitsim
