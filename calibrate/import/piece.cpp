#include "calibrate/import/piece.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "calibrate/profile/library.h"
#include "models/error.h"

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

/// The driver's name in the letters that names of files have: "rtx-3070", "a100-sxm4-80gb".
std::string slug_of(std::string_view device) {
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
  for (const std::string_view maker : {"nvidia-", "geforce-", "amd-", "instinct-"}) {
    if (words.starts_with(maker)) {
      words.erase(0, maker.size());
    }
  }
  return words;
}

/// Data sheets by what the driver calls their devices; those that share a device are left out.
std::map<std::string, std::string> sheets_by_device() {
  std::map<std::string, std::string> sheets;
  std::set<std::string> shared;
  try {
    const ProfileLibrary library;
    for (const std::string& name : library.gpu_names()) {
      const auto sheet = library.sheet(name);
      if (!sheet || sheet->device_name.empty()) {
        continue;
      }
      const std::string device = slug_of(sheet->device_name);
      if (!sheets.try_emplace(device, name).second) {
        shared.insert(device);
      }
    }
  } catch (const UserError&) {
    return {};  // a broken sheet is told by those who use it
  }
  std::erase_if(sheets, [&](const auto& entry) { return shared.contains(entry.first); });
  return sheets;
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
  static const std::map<std::string, std::string> kSheets = sheets_by_device();
  std::string slug = slug_of(device);
  const auto known = kSheets.find(slug);
  return known == kSheets.end() ? slug : known->second;
}

Sample phase_sample(StepPart part,
                    std::int64_t rank,
                    std::vector<double> seconds,
                    std::int64_t accumulation) {
  const std::int64_t warm_up = std::min(kWarmUpSteps * accumulation, std::ssize(seconds));
  return {.series = PhaseSeries{.part = part, .rank = rank, .seconds = std::move(seconds)},
          .warm_up = warm_up};
}

Sample step_sample(std::int64_t rank, std::vector<double> seconds) {
  const std::int64_t warm_up = std::min(kWarmUpSteps, std::ssize(seconds));
  return {.series = StepSeries{.rank = rank, .seconds = std::move(seconds)}, .warm_up = warm_up};
}

}  // namespace vitsim
