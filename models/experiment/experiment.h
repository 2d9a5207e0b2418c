#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/experiment/cluster.h"
#include "models/experiment/failures.h"
#include "models/experiment/training.h"
#include "models/units.h"

namespace vitsim {

/// Something that goes wrong in time; `from` and `to` count from the start of the run.
struct DisturbanceSpec {
  enum class What { kSlowdown, kLink, kPause, kFailure };
  What what = What::kSlowdown;
  std::int64_t rank = 0;          // slowdown, pause, failure
  double factor = 1;              // slowdown: stretches compute
  std::vector<std::string> ends;  // link: two ends, or empty when `node` is given
  std::string node;               // link: that node's NIC
  BytesPerSecond bandwidth;       // link: while the event lasts
  Seconds from;                   // failure: when it happens
  Seconds to;                     // failure: when the job is up again
};

/// One of several trainings on one cluster.
struct JobSpec {
  std::string name;
  TrainingSpec training;
  std::vector<std::int64_t> ranks;  // of the cluster
  Seconds start;
};

/// What cluster.json says: the argument of predict, scale, sweep, train and validate.
struct Experiment {
  std::filesystem::path file;
  ClusterSpec cluster;
  TrainingSpec training;      // the first job's where the file has jobs
  std::vector<JobSpec> jobs;  // empty unless the file has jobs
  std::vector<DisturbanceSpec> events;
  std::optional<FailureSpec> failures;
  PriceSpec prices;
  std::vector<std::filesystem::path> profiles;  // searched before all others
  std::vector<std::string> warnings;            // e.g. keys that DeepSpeed ignores
};

/// The trainings of an experiment: of its jobs, or the one.
std::vector<const TrainingSpec*> trainings(const Experiment& experiment);

/// One `--set key=value`; a key is a path of names and indices joined by points, e.g.
/// `training.micro_batch_per_gpu=32` or `cluster.nodes.0.gpus.0.slowdown=1.3`.
struct Override {
  std::string key;
  std::string value;  // JSON where it parses as JSON, else a string
};

/// Problems that reading alone cannot see, e.g. names of GPUs that nobody knows. Asked only where
/// the file has problems already, so that all are reported at once; the experiment may be
/// incomplete.
using FurtherProblems = std::function<std::vector<std::string>(const Experiment&)>;

/// Whether a file or folder of `profiles` that does not exist is a mistake. To a calibration, which
/// creates it, and to what needs no profile it is none.
enum class MissingProfiles { kRefused, kAccepted };

/// Reads and checks a cluster file. Throws `UserError` with every problem of the file at once, each
/// with file, line, JSON path and, where a word is unknown, the nearest known one. Names of GPUs
/// and profiles are not resolved here. Takes a run directory's resolved.json too.
Experiment read_experiment(const std::filesystem::path& file,
                           const std::vector<Override>& overrides = {},
                           const FurtherProblems& further = {},
                           MissingProfiles missing_profiles = MissingProfiles::kRefused);

/// The same for the text of a file; paths inside are relative to `file`'s folder.
Experiment experiment_from_text(std::string_view text,
                                const std::filesystem::path& file,
                                const std::vector<Override>& overrides = {});

/// The file's text, or what people would have written in its place where it is a resolved.json.
/// Throws UserError where it cannot be read or is no JSON.
std::string experiment_text(const std::filesystem::path& file);

/// The text with its overrides put in. Its paths, relative to `file`'s folder, become relative to
/// `folder` where one is given, and nodes and links that are left out are gone. Throws UserError
/// where a key cannot be set.
std::string text_with_overrides(std::string_view text,
                                const std::filesystem::path& file,
                                const std::vector<Override>& overrides,
                                const std::optional<std::filesystem::path>& folder = std::nullopt);

}  // namespace vitsim
