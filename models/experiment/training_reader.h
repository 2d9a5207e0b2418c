#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "models/document/document_reader.h"
#include "models/experiment/training.h"

namespace vitsim {

/// Where a training section stands: what its figures are checked against.
struct TrainingPlace {
  std::filesystem::path folder;  // paths inside are relative to it
  std::int64_t world_size = 0;   // 0: unknown, the cluster section is wrong
};

/// Reads one `training` section, its DeepSpeed configuration included. Mistakes go to the field's
/// problems, remarks (e.g. keys that DeepSpeed ignores) to `warnings`.
TrainingSpec read_training(const Field& field,
                           const TrainingPlace& place,
                           Problems& problems,
                           std::vector<std::string>& warnings);

}  // namespace vitsim
