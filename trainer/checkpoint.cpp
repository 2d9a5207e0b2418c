// A checkpoint is a folder:
//   manifest.json                 what it is, where the run stood, the size of every file
//   model.safetensors             weights, in the model's type, under torchvision's names
//   optimizer-R-of-N.safetensors  optimizer state and, for 16-bit models, fp32 weights
//   own-R-of-N.safetensors        what rank R alone has: PowerSGD's errors; under local SGD weights
//                                 and optimizer state, and then no file of the kind above
// Optimizer state is kept in pieces "STATE/PARAMETER/OFFSET": one per parameter, or the parts of
// parameters that fall into a rank's shard. A reader takes what it needs from whatever pieces there
// are, so that any number of ranks can go on with it, sharded or not.
//
// The folder is made under another name and renamed when every file in it has reached the disk.
#include "trainer/checkpoint.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <system_error>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/atomic_file.h"
#include "models/error.h"
#include "trainer/tensor_file.h"

namespace vitsim {

namespace {

constexpr std::string_view kSchema = "vitsim-checkpoint/1";
constexpr std::string_view kFamily = "vitsim-checkpoint/";
constexpr const char* kMaster = "weight";

using Json = nlohmann::json;

Json describe(const VitSpec& vit) {
  return {{"layers", vit.layers},
          {"width", vit.width},
          {"heads", vit.heads},
          {"mlp", vit.mlp},
          {"patch", vit.patch},
          {"image_size", vit.image_size},
          {"channels", vit.channels},
          {"classes", vit.classes}};
}

Json describe(const EpochRow& row) {
  const auto or_null = [](const std::optional<double>& value) {
    return value ? Json(*value) : Json(nullptr);
  };
  return {row.epoch,
          row.train_s,
          or_null(row.evaluate_s),
          row.loss,
          or_null(row.top1),
          or_null(row.top5),
          row.images_per_s,
          row.peak_memory_bytes,
          or_null(row.gpu_power_w)};
}

// JSON has no word for what is not finite: the loss of an epoch of steps that were all skipped.
double number_or_nan(const Json& json) {
  return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
}

EpochRow epoch_row(const Json& json) {
  const auto optional = [&](std::size_t i) {
    return json.at(i).is_null() ? std::nullopt : std::optional(json.at(i).get<double>());
  };
  return {.epoch = json.at(0).get<std::int64_t>(),
          .train_s = json.at(1).get<double>(),
          .evaluate_s = optional(2),
          .loss = number_or_nan(json.at(3)),
          .top1 = optional(4),
          .top5 = optional(5),
          .images_per_s = json.at(6).get<double>(),
          .peak_memory_bytes = json.at(7).get<std::int64_t>(),
          .gpu_power_w = json.size() > 8 ? optional(8) : std::nullopt};
}

// The optimizer's tensors by state and slice, and the fp32 weights where the model's are shorter.
std::vector<Optimizer::State> optimizer_tensors(const TrainingState& state,
                                                const std::vector<Slice>& slices) {
  std::vector<Optimizer::State> result = state.optimizer.state();
  if (has_master_weights(state.training.precision)) {
    Optimizer::State master{.name = kMaster, .tensors = {}};
    for (const Slice& slice : slices) {
      master.tensors.push_back(slice.weight);
    }
    result.push_back(std::move(master));
  }
  return result;
}

std::string optimizer_file(std::int64_t part, std::int64_t parts) {
  return fmt::format("optimizer-{}-of-{}.safetensors", part, parts);
}

std::string own_file(std::int64_t rank, std::int64_t size) {
  return fmt::format("own-{}-of-{}.safetensors", rank, size);
}

// What no other rank has.
std::vector<NamedTensor> own_tensors(const TrainingState& state) {
  std::vector<NamedTensor> own = state.reducer.own_state();
  if (state.reducer.trains_alone()) {
    const auto names = vitsim::parameters(state.model.spec());
    const std::vector<Slice> slices = state.reducer.slices();
    for (const auto& [what, tensors] : state.optimizer.state()) {
      for (std::size_t i = 0; i < slices.size(); ++i) {
        own.push_back({fmt::format("{}/{}", what, names[slices[i].parameter].name), tensors[i]});
      }
    }
    for (const Slice& slice : slices) {
      own.push_back({fmt::format("{}/{}", kMaster, names[slice.parameter].name), slice.weight});
    }
  }
  return own;
}

// Puts back what this rank alone had.
void load_own(const std::filesystem::path& step, std::int64_t parts, const TrainingState& state) {
  const std::vector<NamedTensor> own = own_tensors(state);
  if (parts == 0) {
    return;  // all ranks were alike: each begins with that
  }
  if (own.empty()) {
    throw UserError(
        fmt::format("{}: each of its ranks has a state of its own, from local updates or PowerSGD; "
                    "this run has no use for it: go on with the same training section",
                    step.string()));
  }
  if (parts != state.size) {
    throw UserError(
        fmt::format("{}: each of its {} ranks has a state of its own: go on with {} "
                    "ranks, not {}",
                    step.string(),
                    parts,
                    parts,
                    state.size));
  }
  const TensorFile file(step / own_file(state.rank, parts));
  for (const auto& [name, tensor] : own) {
    at::Tensor target = tensor;
    target.copy_(file.read(name));
  }
  if (state.reducer.trains_alone()) {
    state.reducer.publish();
  }
}

// What a run's resolved.json says of where its checkpoints are; empty where nothing.
std::filesystem::path stated_folder(const std::filesystem::path& run) {
  std::ifstream input(run / "resolved.json");
  const Json resolved = Json::parse(input, nullptr, /*allow_exceptions=*/false);
  const Json::json_pointer key("/training/checkpoint/path");
  return resolved.contains(key) && resolved[key].is_string() ? resolved[key].get<std::string>()
                                                             : std::string();
}

Json read_manifest(const std::filesystem::path& file) {
  std::ifstream input(file);
  if (!input) {
    throw UserError(fmt::format("{}: cannot be read", file.string()));
  }
  Json manifest = Json::parse(input, nullptr, /*allow_exceptions=*/false);
  const std::string schema = manifest.is_object() ? manifest.value("schema", "") : "";
  if (!schema.starts_with(kFamily)) {
    throw UserError(fmt::format("{}: is cut or not a checkpoint's manifest", file.string()));
  }
  if (schema != kSchema) {
    throw UserError(fmt::format(
        "{}: is of {}, which is newer than this program ({})", file.string(), schema, kSchema));
  }
  return manifest;
}

// Everything that must be as it was, and all files of the size they had.
void check(const std::filesystem::path& step, const Json& manifest, const TrainingSpec& training) {
  std::vector<std::string> problems;
  const auto must_equal = [&](const char* what, const Json& then, const Json& now) {
    if (then != now) {
      problems.push_back(fmt::format(
          "{}: its {} is {}, the run's is {}", step.string(), what, then.dump(), now.dump()));
    }
  };
  must_equal("model", manifest.at("model"), describe(training.model));
  must_equal("precision", manifest.at("precision"), name(training.precision));
  must_equal("optimizer", manifest.at("optimizer"), name(training.optimizer.kind));
  for (const auto& [file, bytes] : manifest.at("files").items()) {
    std::error_code error;
    const auto size = std::filesystem::file_size(step / file, error);
    if (error) {
      problems.push_back(fmt::format("{}: is missing", (step / file).string()));
    } else if (size != bytes.get<std::uintmax_t>()) {
      problems.push_back(fmt::format("{}: is cut: it has {} bytes, not {}",
                                     (step / file).string(),
                                     size,
                                     bytes.get<std::uintmax_t>()));
    }
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
}

// All pieces of optimizer state in a checkpoint, whichever ranks wrote them.
class Pieces {
 public:
  Pieces(const std::filesystem::path& step, std::int64_t parts) {
    for (std::int64_t part = 0; part < parts; ++part) {
      files_.emplace_back(step / optimizer_file(part, parts));
      for (const std::string& name : files_.back().names()) {
        const std::size_t slash = name.rfind('/');
        index_[name.substr(0, slash)][std::stoll(name.substr(slash + 1))] = {files_.size() - 1,
                                                                             name};
      }
    }
  }

  // Fills `target` with the elements from `offset` on of parameter `name`'s `state`.
  void read(const std::string& state,
            const std::string& name,
            std::int64_t offset,
            const at::Tensor& target) const {
    const auto found = index_.find(state + "/" + name);
    std::int64_t filled = 0;
    at::Tensor flat = target.view(-1);
    const std::int64_t end = offset + flat.numel();
    if (found != index_.end()) {
      for (const auto& [begin, place] : found->second) {
        if (begin >= end) {
          break;
        }
        const at::Tensor piece = files_[place.first].read(place.second).view(-1);
        const std::int64_t from = std::max(begin, offset);
        const std::int64_t to = std::min(begin + piece.numel(), end);
        if (from < to) {
          flat.narrow(0, from - offset, to - from).copy_(piece.narrow(0, from - begin, to - from));
          filled += to - from;
        }
      }
    }
    if (filled != flat.numel()) {
      throw UserError(fmt::format("the checkpoint lacks a part of {} of {}", state, name));
    }
  }

 private:
  std::vector<TensorFile> files_;
  std::map<std::string, std::map<std::int64_t, std::pair<std::size_t, std::string>>> index_;
};

}  // namespace

std::optional<std::filesystem::path> find_checkpoint(const std::filesystem::path& folder) {
  for (const auto& place : {folder, stated_folder(folder), folder / "checkpoint"}) {
    if (place.empty()) {
      continue;
    }
    if (std::filesystem::exists(place / "manifest.json")) {
      return place;
    }
    std::ifstream latest(place / "latest");
    std::string name;
    if (latest && std::getline(latest, name)) {
      return place / name;
    }
  }
  return std::nullopt;
}

void save_checkpoint(const std::filesystem::path& folder,
                     const TrainingState& state,
                     const Progress& progress,
                     Communication& communication) {
  const int rank = state.rank;
  const bool sharded = state.reducer.sharded();
  const bool whole = !sharded && !state.reducer.trains_alone();
  const std::int64_t parts = sharded ? state.size : whole ? 1 : 0;
  const std::vector<NamedTensor> own = own_tensors(state);
  const std::string name = fmt::format("step-{}", progress.steps);
  const std::filesystem::path partial = folder / (name + ".partial");
  const auto names = vitsim::parameters(state.model.spec());

  const auto stage = [&](const std::function<void()>& work) {
    try {
      communication.on_every_rank([&] {
        try {
          work();
        } catch (const std::filesystem::filesystem_error& error) {
          throw DeviceError(error.what());
        }
      });
    } catch (...) {
      std::error_code ignored;
      std::filesystem::remove_all(partial, ignored);
      throw;
    }
  };

  stage([&] {
    if (rank == 0) {
      std::filesystem::remove_all(partial);
      std::filesystem::create_directories(partial);
    }
  });
  stage([&] {
    if (rank == 0) {
      std::vector<NamedTensor> weights;
      for (std::size_t i = 0; i < names.size(); ++i) {
        weights.push_back({names[i].name, state.model.parameters()[i]});
      }
      write_tensors(partial / "model.safetensors", weights);
    }
    if (!own.empty()) {
      write_tensors(partial / own_file(rank, state.size), own);
    }
    if (sharded || (whole && rank == 0)) {
      const std::vector<Slice> slices = state.reducer.slices();
      std::vector<NamedTensor> pieces;
      for (const auto& [what, tensors] : optimizer_tensors(state, slices)) {
        for (std::size_t i = 0; i < slices.size(); ++i) {
          pieces.push_back(
              {fmt::format("{}/{}/{}", what, names[slices[i].parameter].name, slices[i].offset),
               tensors[i]});
        }
      }
      write_tensors(partial / optimizer_file(sharded ? rank : 0, parts), pieces);
    }
  });
  stage([&] {
    if (rank != 0) {
      return;
    }
    Json files = Json::object();
    files["model.safetensors"] = std::filesystem::file_size(partial / "model.safetensors");
    const auto add = [&](const std::string& file, std::int64_t writer) {
      if (!std::filesystem::exists(partial / file)) {
        throw DeviceError(
            fmt::format("{}: rank {} wrote it, rank 0 does not see it: checkpoints to which every "
                        "rank adds its own state need a file system that all nodes share",
                        (partial / file).string(),
                        writer));
      }
      files[file] = std::filesystem::file_size(partial / file);
    };
    for (std::int64_t part = 0; part < parts; ++part) {
      add(optimizer_file(part, parts), part);
    }
    const std::int64_t own_parts = own.empty() ? 0 : state.size;
    for (std::int64_t part = 0; part < own_parts; ++part) {
      add(own_file(part, own_parts), part);
    }
    Json epochs = Json::array();
    for (const EpochRow& row : progress.epochs) {
      epochs.push_back(describe(row));
    }
    Json manifest = {{"schema", kSchema},
                     {"model", describe(state.training.model)},
                     {"precision", vitsim::name(state.training.precision)},
                     {"optimizer", vitsim::name(state.training.optimizer.kind)},
                     {"gradient_sync", vitsim::name(state.training.gradient_sync)},
                     {"world_size", state.size},
                     {"optimizer_parts", parts},
                     {"own_parts", own_parts},
                     {"updates", state.optimizer.updates()},
                     {"epoch", progress.epoch},
                     {"step_in_epoch", progress.step_in_epoch},
                     {"samples_in_epoch", progress.samples_in_epoch},
                     {"steps", progress.steps},
                     {"loss_sum", progress.loss_sum},
                     {"loss_samples", progress.loss_samples},
                     {"elapsed_s", progress.elapsed_s},
                     {"epochs", epochs},
                     {"files", files}};
    if (progress.loss_scale) {
      manifest["loss_scale"] = {{"scale", progress.loss_scale->scale},
                                {"hysteresis", progress.loss_scale->hysteresis},
                                {"iteration", progress.loss_scale->iteration},
                                {"last_overflow", progress.loss_scale->last_overflow}};
    }
    write_file_atomically(partial / "manifest.json", manifest.dump(2) + "\n");
    std::string final_name = name;
    while (std::filesystem::exists(folder / final_name)) {
      final_name += "-again";  // a run that went back and came here a second time
    }
    std::filesystem::rename(partial, folder / final_name);
    write_file_atomically(folder / "latest", final_name + "\n");
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string other = entry.path().filename().string();
      if (other.starts_with("step-") && other != final_name) {
        std::filesystem::remove_all(entry.path());
      }
    }
  });
}

Progress load_checkpoint(const std::filesystem::path& folder, const TrainingState& state) {
  const auto found = find_checkpoint(folder);
  if (!found) {
    const std::filesystem::path stated = stated_folder(folder);
    throw UserError(fmt::format("{}: there is no checkpoint{}",
                                folder.string(),
                                stated.empty() ? "" : ", nor in " + stated.string()));
  }
  const std::filesystem::path& step = *found;
  const Json manifest = read_manifest(step / "manifest.json");
  Progress progress;
  try {
    check(step, manifest, state.training);
    const TensorFile weights(step / "model.safetensors");
    const auto parts = manifest.at("optimizer_parts").get<std::int64_t>();
    const Pieces pieces(step, parts);
    const auto names = vitsim::parameters(state.model.spec());

    const at::NoGradGuard no_grad;
    for (std::size_t i = 0; i < names.size(); ++i) {
      state.model.parameters()[i].copy_(weights.read(names[i].name));
    }
    state.reducer.adopt_model();
    load_own(step, manifest.value("own_parts", std::int64_t{0}), state);
    const std::vector<Slice> slices = parts > 0 ? state.reducer.slices() : std::vector<Slice>();
    for (const auto& [what, tensors] : optimizer_tensors(state, slices)) {
      for (std::size_t i = 0; i < slices.size(); ++i) {
        pieces.read(what, names[slices[i].parameter].name, slices[i].offset, tensors[i]);
      }
    }
    state.optimizer.set_updates(manifest.at("updates").get<std::int64_t>());

    progress.epoch = manifest.at("epoch").get<std::int64_t>();
    progress.step_in_epoch = manifest.at("step_in_epoch").get<std::int64_t>();
    progress.samples_in_epoch = manifest.at("samples_in_epoch").get<std::int64_t>();
    progress.steps = manifest.at("steps").get<std::int64_t>();
    progress.loss_sum = number_or_nan(manifest.at("loss_sum"));
    progress.loss_samples = manifest.value("loss_samples", progress.samples_in_epoch);
    progress.elapsed_s = manifest.at("elapsed_s").get<double>();
    for (const Json& row : manifest.at("epochs")) {
      progress.epochs.push_back(epoch_row(row));
    }
    if (const auto scale = manifest.find("loss_scale"); scale != manifest.end()) {
      progress.loss_scale = {.scale = scale->at("scale").get<double>(),
                             .hysteresis = scale->at("hysteresis").get<int>(),
                             .iteration = scale->at("iteration").get<std::int64_t>(),
                             .last_overflow = scale->at("last_overflow").get<std::int64_t>()};
    }
  } catch (const Json::exception& error) {
    throw UserError(
        fmt::format("{}: is damaged: {}", (step / "manifest.json").string(), error.what()));
  }
  return progress;
}

}  // namespace vitsim
