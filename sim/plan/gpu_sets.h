#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "models/experiment/experiment.h"

namespace vitsim {

/// GPUs that somebody could add: `rtx-4090:2`.
struct AddedGpus {
  std::string gpu;
  std::int64_t count = 1;
};

/// `GPU` or `GPU:COUNT`. Throws UserError.
AddedGpus parse_added_gpus(const std::string& text);

/// Which of a file's GPUs are used, as changes to the file.
struct GpuSet {
  std::vector<Override> set;          // empty: the file as it stands
  std::string change;                 // "leave out the gtx-1070 (older)"; may be empty
  std::vector<std::string> left_out;  // "the GTX 1070", "2 of the 4 RTX 3070", for sentences
  std::vector<std::string> added;
  bool is_one_step = false;  // one node, or one kind of GPU, is left out or added, and nothing else
  std::string step;  // what that is: "node older (gtx-1070)", "every rtx-3070", "2 x rtx-4090"
};

struct GpuSets {
  std::vector<GpuSet> sets;        // the first is the file's
  std::vector<std::string> notes;  // what was left out of the list
};

/// The sets to try, for a file's text as JSON: nodes that are alike by their number, kinds of GPUs
/// inside of nodes, fewer GPUs of a node. All of them where they are few; else fewer numbers, and a
/// note says which. With `additions`, each set with and without them.
GpuSets gpu_sets(const nlohmann::json& file, const std::vector<AddedGpus>& additions);

/// A GPU's name as people write it: "rtx-2080-ti" is "RTX 2080 Ti".
std::string gpu_title(std::string_view name);

}  // namespace vitsim
