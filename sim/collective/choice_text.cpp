#include "sim/collective/choice_text.h"

#include <string_view>

#include <fmt/format.h>

#include "sim/collective/communicator.h"

namespace vitsim {

namespace {

std::string_view who_chose(const Communicator& group,
                           AllReduceAlgorithm word,
                           CollectiveKind kind,
                           Algorithm algorithm) {
  if (word == AllReduceAlgorithm::kOpenMpi) {
    return "as Open MPI chooses";
  }
  if (word != AllReduceAlgorithm::kAuto && word != AllReduceAlgorithm::kNccl) {
    return "as the file says";
  }
  if (group.size() == 1) {
    return "which sends nothing";
  }
  if (group.is_uneven(kind)) {
    return "of pieces of unequal size";
  }
  if (algorithm == Algorithm::kMeasured) {
    return "by the table of the link's profile";
  }
  if (group.nccl()->applies()) {
    return "as NCCL chooses between GPUs";
  }
  return group.nccl()->is_between_cpus() ? "the program's own between CPUs"
                                         : "with the figures of measured collectives";
}

}  // namespace

std::string choice_text(const Communicator& group,
                        AllReduceAlgorithm word,
                        CollectiveKind kind,
                        std::int64_t bytes) {
  const Algorithm algorithm = group.resolve(word, kind, bytes);
  return fmt::format("{}, {}", name(algorithm), who_chose(group, word, kind, algorithm));
}

}  // namespace vitsim
