#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/measurement/series.h"
#include "models/experiment/training.h"
#include "models/precision.h"
#include "models/units.h"
#include "models/vit/cost_graph.h"
#include "models/vit/vit.h"

namespace vitsim {

/// Stands for a GPU or a model that no file tells.
inline constexpr std::string_view kUnknown = "unknown";

/// The configuration of a recorded training run, as far as its files tell.
struct RecordedRun {
  std::string name;               // unique within the measurement
  std::string cluster;            // which network and machines, e.g. "tesla", "vector-t4"
  bool one_node = false;          // all GPUs inside one machine
  std::string link;               // profile of the network between them, where a file names it
  std::vector<std::string> gpus;  // by rank, as configs/gpus names them, e.g. "rtx-3070"; "unknown"
  VitSpec model;
  Precision precision = Precision::kFp32;
  bool precision_inferred = false;  // not stated by the log itself
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  GradientSync gradient_sync = GradientSync::kDeepspeedZero0;
  std::vector<std::int64_t> micro_batch;  // one for all, or by rank
  std::int64_t accumulation = 1;
  std::int64_t epochs = 0;
  std::int64_t samples = 0;                // per epoch, of the data set; 0: unknown
  QkvSplit qkv_split = QkvSplit::kSelect;  // how its model takes query, key and value apart
  bool wall_clock_breakdown = true;        // DeepSpeed's timers synchronise the GPU at every phase
};

/// Name of the link profile between a recorded run's GPUs: the one its files name, or by its
/// cluster `tesla-ethernet`, `vector-t4-node`. A cluster that is called like a link already keeps
/// its name; without any name it is "network" or "node".
std::string link_name(const RecordedRun& run);

/// `vitsim-measurement/1`: what was measured or imported.
struct Measurement {
  std::string device;                              // or "imported"
  std::map<std::string, std::string> devices;      // by profile name: what each calls itself
  std::map<std::string, std::string> environment;  // versions, host, governor ...
  std::vector<RecordedRun> runs;
  std::vector<Sample> samples;
  std::vector<std::string> warnings;

  [[nodiscard]] const RecordedRun* find_run(std::string_view name) const;
};

/// Adds what devices call themselves, by profile name. Throws UserError that names both where one
/// name would mean two devices: no profile can be fitted to both.
void add_devices(Measurement& to, const std::map<std::string, std::string>& devices);

/// Throws UserError with file and line where the file is cut, edited or of a newer schema: a
/// checksum over the samples is part of the file.
Measurement read_measurement(const std::filesystem::path& file);
/// The same for text; `origin` is what messages call it.
Measurement measurement_from_text(std::string_view text, const std::string& origin);
/// Atomic: written to a temporary name and renamed.
void write_measurement(const std::filesystem::path& file, const Measurement& measurement);
/// What `write_measurement` writes.
std::string to_text(const Measurement& measurement);

}  // namespace vitsim
