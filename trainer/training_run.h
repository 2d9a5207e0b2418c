#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "models/experiment/experiment.h"
#include "trainer/communication.h"
#include "trainer/data/dataset.h"
#include "trainer/device.h"
#include "trainer/watchdog.h"

namespace vitsim {

/// What the command line says beside the experiment's file.
struct RunOptions {
  std::optional<std::int64_t> steps;            // stop after so many updates in all
  std::optional<std::filesystem::path> resume;  // a run directory or its checkpoint
  std::filesystem::path out;                    // the run directory
  bool kineto = false;
  bool timeline = true;  // record when phases begin and end
  OnUnreadable on_unreadable = OnUnreadable::kReplace;
  bool check_replicas = false;  // at the end: all ranks must hold the same bits
};

/// Trains. Every rank calls it with the same arguments. Throws UserError (also where only another
/// rank can say what is wrong: then OtherRankFailed) and DeviceError.
void train(const Experiment& experiment,
           const RunOptions& options,
           const MpiSession& session,
           Communication& communication,
           Device& device,
           Watchdog& watchdog);

}  // namespace vitsim
